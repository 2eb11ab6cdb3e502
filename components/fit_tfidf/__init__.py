"""The `fit_tfidf` component."""

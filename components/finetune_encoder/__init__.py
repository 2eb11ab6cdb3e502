"""The `finetune_encoder` component."""

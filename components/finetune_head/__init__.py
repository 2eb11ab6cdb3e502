"""The `finetune_head` component."""

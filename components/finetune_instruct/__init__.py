"""The `finetune_instruct` component."""

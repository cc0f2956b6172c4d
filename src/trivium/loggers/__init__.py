"""Sends runs to wandb and TensorBoard, one file each; final_metrics and figures read a finished run for them."""

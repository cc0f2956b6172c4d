"""Sends runs to wandb and TensorBoard, one file each; final_metrics and figures make what a finished run sends."""

"""wandb and TensorBoard, one file each; what a finished run tells them (final.py) and shows them (figures.py)."""

"""Train a method: accelerate launch train.py --domain monet2photo (or: python train.py ...)."""

from gan_style import command
from gan_style.training import launch

if __name__ == "__main__":
    command.run("train.py", launch.main)

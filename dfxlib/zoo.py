"""The table of backbones. It imports no torch, so that a study file is checked in an instant."""

from typing import NamedTuple


class Backbone(NamedTuple):
    width: int  # features
    last_layer: str  # dotted name of the classification layer
    weights: str = "IMAGENET1K_V1"  # ImageNet weights of the reference, by torchvision's name
    first_conv: str = ""  # dotted name of the strided first convolution, empty: no `full` stem
    first_pool: str = ""  # dotted name of the pooling that follows it
    patch: int = 0  # patch of a vision transformer, in pixels


#: The reference takes efficientnet_b0 from NVIDIA's hub; torchvision's stands in for it.
BACKBONES = {
    "resnet18": Backbone(512, "fc", first_conv="conv1", first_pool="maxpool"),
    "resnet50": Backbone(2048, "fc", first_conv="conv1", first_pool="maxpool"),
    "densenet121": Backbone(1024, "classifier", first_conv="features.conv0", first_pool="features.pool0"),
    "efficientnet_b0": Backbone(1280, "classifier.1", first_conv="features.0.0"),
    "vit_b_16": Backbone(768, "heads.head", patch=16),
}

#: First layers: as on ImageNet, or 3 x 3 at stride 1 without pooling.
STEMS = ("imagenet", "full")

#: Inputs of a backbone: normalised RGB, or a fixed high-pass of each channel.
FRONT_ENDS = ("rgb", "residual")


def input_side(name: str, image_size: int) -> int:  # pixels
    """Side of the network's input: the square itself; for vision transformers its central 7/8.

    256 becomes 224 as in the reference (resize 256, centre crop 224), and other sizes a
    multiple of the patch.
    """
    patch = BACKBONES[name].patch
    return image_size * 7 // 8 // patch * patch if patch else image_size

"""Networks of other libraries as backbones: ``hf:...`` of transformers, ``timm:...`` and ``torchvision:...``.

Their names stand where a registered name would, with the options ``config``, passed on to the library, and
``pretrained``. What the contract asks for and a library does not say is found out when the network is built, by showing
it two images: which of its maps tile the image, at which strides, and which weights they depend on. Poolers, mask
tokens and heads, on which no map depends, are frozen. A network that does not keep the contract is refused then.

Shapes: B images, C channels, H x W pixels, maps of h x w cells of width D.
"""

from __future__ import annotations

import difflib
import functools
import importlib
import inspect
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from arcformer.errors import InputError, near
from arcformer.models.backbone import BACKBONES, Backbone, FeatureMap
from arcformer.models.fitting import check_channels, fit

__all__ = ["HuggingFace", "Timm", "Torchvision"]

CHANNELS = ("num_channels", "in_channels", "in_chans")
"""What configurations of transformers call the number of channels."""


class Foreign(Backbone):
    """A network of another library. A subclass builds it, then calls ``_adopt``.

    Attributes:
        source: what stands after the prefix.
        title: prefix and source.
    """

    prefix: ClassVar[str]
    source: ClassVar[str]
    title: ClassVar[str]

    @abstractmethod
    def _maps(self, images: Tensor) -> list[Tensor]:
        """What the network finds in ``images`` (B, C, H, W), in its own order; the last is its result, (B, D, h, w)."""

    def features(self, images: Tensor, context: Tensor | None = None) -> list[FeatureMap]:
        """The last map of each stride; ``context`` is not looked at.

        Raises:
            InputError: for another number of channels, or images smaller than a cell of the coarsest map.
        """
        check_channels(self.title, images, self.channels)
        height, width = images.shape[-2:]
        if min(height, width) < self.taken[-1][1]:
            raise InputError(
                f"{self.title}: an image of {height} x {width} pixels holds no cell of {self.taken[-1][1]}; pad it"
            )
        maps = self._maps(fit(images, self.patch))
        return [FeatureMap(maps[i], stride) for i, stride in self.taken]

    def _adopt(self, channels: int, patch: int) -> None:
        """Look at two images of 2 : 1, so that axes can be told apart; images will be made to fit ``patch``."""
        self.channels, self.patch = channels, patch
        side = patch
        while side < 64:
            side *= 2
        training = self.training
        self.eval()
        device = next(self.parameters()).device
        images = torch.linspace(-1, 1, 2 * channels * 2 * side * side, device=device).view(2, channels, side, 2 * side)
        try:
            with torch.random.fork_rng(devices=[]), torch.enable_grad():
                maps, again = self._maps(images), self._maps(images)
        except InputError:
            raise
        except Exception as error:
            raise InputError(
                f"{self.title} does not take {channels} channel(s) of {side} x {2 * side} pixels: {_words(error)}"
            ) from error
        strides = [_stride(x, side) for x in maps]
        last = strides[-1]
        if last is None:
            raise InputError(
                f"{self.title} gives {tuple(maps[-1].shape)} for {side} x {2 * side} pixels, which is no map"
            )
        if device.type != "meta" and not torch.equal(maps[-1], again[-1]):
            raise InputError(f"{self.title} sees something else in the same image each time: it drops or shuffles")
        at_stride = {stride: i for i, stride in enumerate(strides) if stride is not None and stride <= last}
        self.taken = sorted(((i, stride) for stride, i in at_stride.items()), key=lambda pair: pair[1])
        self.dim = maps[-1].shape[1]
        reached = _reached([maps[i] for i, _ in self.taken])
        for parameter in self.parameters():
            if id(parameter) not in reached or parameter.numel() == 0:
                parameter.requires_grad_(False)
        self.train(training)


class HuggingFace(Foreign):
    """An encoder of images of transformers.

    ``hf:vit`` is an architecture with the configuration that transformers gives it, ``hf:owner/name`` a model of the
    hub, ``hf:path`` one in a folder, or the configuration in a JSON file. Of pure transformers it has one map; of
    hierarchical networks all that transformers reports, which is, for some, the patches before the first block too.

    Args:
        image_size: side of most images, pixels. Learned positions are laid out for it unless they are pretrained.
        channels: number of channels of the images.
        config: fields of the network's configuration that are to differ, as ``{patch_size = 8}``.
        pretrained: load the weights that belong to the name. Weights of three channels are added up for one, which is
            the same as showing the image in each.

    Raises:
        InputError: without transformers; for what is no encoder of images, a field that it does not have, weights that
            are not there, or a network that does not keep the contract.
    """

    def __init__(
        self, image_size: int, channels: int, *, config: dict[str, Any] | None = None, pretrained: bool = False
    ):
        super().__init__()
        transformers = _library("transformers", "hf")
        chosen = dict(config or {})
        settled = self._configuration(transformers, chosen)
        named = next((name for name in CHANNELS if hasattr(settled, name)), None)
        cls = transformers.MODEL_MAPPING.get(type(settled), None)
        if named is None or not isinstance(cls, type) or getattr(cls, "main_input_name", None) != "pixel_values":
            raise InputError(f"{self.title} is no encoder of images that transformers has as a model")
        if named in chosen:
            raise InputError(f"{self.title}: config.{named} follows from the images; leave it out")
        patch = _patch(settled)
        if "image_size" not in chosen and not pretrained and hasattr(settled, "image_size"):
            side = -(-image_size // patch) * patch  # what images are made to fit
            settled.image_size = side if isinstance(settled.image_size, int) else [side, side]
        options = {"add_pooling_layer": False} if "add_pooling_layer" in inspect.signature(cls).parameters else {}
        trained = self._trained(cls, settled, options) if pretrained else None
        setattr(settled, named, channels)
        with _said_in_words(self.title, "cannot be built"):
            self.network = cls(settled, **options) if trained is None else _rechannelled(trained, cls, settled, options)
        takes = inspect.signature(self.network.forward).parameters
        self.interpolate = {"interpolate_pos_encoding": True} if "interpolate_pos_encoding" in takes else {}
        self._adopt(channels, patch)

    def _configuration(self, transformers: Any, chosen: dict[str, Any]) -> Any:
        """The configuration that the name stands for, with ``chosen`` fields."""
        architecture, fields = self.source, {}
        if architecture not in transformers.CONFIG_MAPPING:
            try:
                fields, _ = transformers.PreTrainedConfig.get_config_dict(self.source)
            except Exception as error:
                raise InputError(f"{self.title}: no configuration is found there ({_words(error)})") from None
            architecture = fields.get("model_type", "")
            if architecture not in transformers.CONFIG_MAPPING:
                raise InputError(f"{self.title}: its model_type {architecture!r} is none that transformers knows")
        cls = transformers.CONFIG_MAPPING[architecture]
        known = {*cls().to_dict(), *cls.attribute_map}
        for name in chosen:
            if name not in known:
                raise InputError(f"{self.title}: config.{name} is no field of its configuration; {near(name, known)}")
        with _said_in_words(self.title, "cannot be configured so"):
            # Through the constructor, so that what follows from a field, as a width from another, follows from it.
            return cls(**{**fields, **chosen})

    def _trained(self, cls: Any, settled: Any, options: dict[str, Any]) -> nn.Module:
        if not _has_weights(self.source):
            raise InputError(
                f"{self.title} names no weights; name a model of the hub, as hf:owner/name, or the folder of one, or "
                "leave pretrained out"
            )
        with _said_in_words(self.title, "has no weights that fit"):
            return cls.from_pretrained(
                self.source, config=settled, dtype=torch.float32, use_safetensors=True, **options
            )

    def _maps(self, images: Tensor) -> list[Tensor]:
        outputs = self.network(images, output_hidden_states=True, **self.interpolate)
        hidden = outputs.get("reshaped_hidden_states") or outputs.get("hidden_states") or ()
        maps, x = [each for each in hidden if each.ndim == 4], outputs.last_hidden_state
        if x.ndim == 3:
            reshaped = outputs.get("reshaped_hidden_states")
            h, w = (
                reshaped[-1].shape[2:] if reshaped else (images.shape[2] // self.patch, images.shape[3] // self.patch)
            )
            extra = x.shape[1] - h * w  # class tokens and registers, which come first
            if extra < 0:
                raise InputError(
                    f"{self.title} gives {x.shape[1]} tokens for a grid of {h} x {w}, so it drops or merges"
                )
            x = x[:, extra:].transpose(1, 2).unflatten(2, (h, w))
        return [*maps, x]


class Timm(Foreign):
    """A network of timm, with the maps that its ``features_only`` gives.

    Args:
        image_size: side of most images, pixels; passed on to the networks that want it.
        channels: number of channels of the images.
        config: arguments of ``timm.create_model`` for this network, as ``{drop_path_rate = 0.1}``.
        pretrained: load the weights that belong to the name; timm fits them to the channels.

    Raises:
        InputError: without timm; for a name or an option that it does not have, weights that are not there, or a
            network that does not keep the contract.
    """

    def __init__(
        self, image_size: int, channels: int, *, config: dict[str, Any] | None = None, pretrained: bool = False
    ):
        super().__init__()
        timm = _library("timm", "timm")
        if not timm.is_model(self.source):
            raise InputError(f"{self.title}: timm has no such network{_maybe(self.source, timm.list_models())}")
        self.network = self._create(timm, image_size, channels, dict(config or {}), pretrained)
        self.widths = list(self.network.feature_info.channels())
        self._adopt(channels, min(self.network.feature_info.reduction()))

    def _create(self, timm: Any, image_size: int, channels: int, chosen: dict[str, Any], pretrained: bool) -> Any:
        sized = {"img_size": image_size}
        # Transformers of timm are for one size unless they are told otherwise, which its other networks do not take.
        for extra in ({**sized, "dynamic_img_size": True}, {**sized, "strict_img_size": False}, {}):
            arguments = {**extra, **chosen, "in_chans": channels, "pretrained": pretrained, "features_only": True}
            try:
                return timm.create_model(self.source, **arguments)
            except TypeError as error:
                if not extra or not any(name in str(error) for name in extra):
                    raise InputError(f"{self.title} cannot be built: {_words(error)}") from error
            except Exception as error:
                raise InputError(f"{self.title} cannot be built: {_words(error)}") from error
        raise AssertionError("the last attempt returns or raises")

    def _maps(self, images: Tensor) -> list[Tensor]:
        maps = self.network(images)
        return [  # some networks give channels last
            x if x.shape[1] == width else x.permute(0, 3, 1, 2) for x, width in zip(maps, self.widths, strict=True)
        ]


class Torchvision(Foreign):
    """A classifier of torchvision, up to its pooling.

    Args:
        image_size: side of most images, pixels; nothing depends on it.
        channels: number of channels of the images.
        config: arguments of ``torchvision.models.get_model`` for this network.
        pretrained: load torchvision's default weights. Weights of three channels are added up for one, which is the
            same as showing the image in each.

    Raises:
        InputError: without a torchvision that works; for a name or an option that it does not have, weights that are
            not there, or a network that does not keep the contract, as its vision transformers, which are for one size.
    """

    def __init__(
        self, image_size: int, channels: int, *, config: dict[str, Any] | None = None, pretrained: bool = False
    ):
        super().__init__()
        models = _library("torchvision", "torchvision").models
        if self.source not in models.list_models():
            raise InputError(
                f"{self.title}: torchvision has no such network{_maybe(self.source, models.list_models())}"
            )
        with _said_in_words(self.title, "cannot be built"):
            network = models.get_model(self.source, weights="DEFAULT" if pretrained else None, **(config or {}))
        steps: list[nn.Module] = []
        for child in network.children():
            if isinstance(child, nn.AdaptiveAvgPool2d | nn.Flatten | nn.Linear) or _is_head(child):
                break
            steps += child if isinstance(child, nn.Sequential) else [child]
        if not steps:
            raise InputError(f"{self.title} has nothing before its head that could be run by itself")
        self.network = nn.Sequential(*steps)
        _change_channels(self.network, channels)
        self._adopt(channels, 1)

    def _maps(self, images: Tensor) -> list[Tensor]:
        maps, x = [], images
        for step in self.network:
            x = step(x)
            maps.append(x)
        return maps


@BACKBONES.register_prefix("hf")
def hugging_face(source: str) -> type[Backbone]:
    """Any encoder of images of transformers: an architecture, as hf:swinv2; a model, as hf:owner/name; or a path."""
    transformers = _library("transformers", "hf")
    if source not in transformers.CONFIG_MAPPING and "/" not in source and not Path(source).exists():
        raise InputError(
            f"hf:{source} is no architecture of transformers{_maybe(source, transformers.CONFIG_MAPPING)}; expected "
            "one, as vit, swinv2, convnextv2, dinov2, resnet or cvt, or a model of the hub, as owner/name, or the path "
            "of a configuration"
        )
    return _named(HuggingFace, "hf", source)


@BACKBONES.register_prefix("timm")
def timm(source: str) -> type[Backbone]:
    """Any network of timm that gives features, as timm:convnext_tiny."""
    return _named(Timm, "timm", source)


@BACKBONES.register_prefix("torchvision")
def torchvision(source: str) -> type[Backbone]:
    """Any convolutional classifier of torchvision, as torchvision:resnet50."""
    return _named(Torchvision, "torchvision", source)


@functools.cache
def _named(cls: type[Foreign], prefix: str, source: str) -> type[Foreign]:
    """The class for one network: options follow from its constructor, as of any other backbone."""
    title = f"{prefix}:{source}"
    return type(cls.__name__, (cls,), {"source": source, "title": title, "__doc__": cls.__doc__})


def _library(module: str, extra: str) -> Any:
    """Import a library that is not needed otherwise."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name == module:
            raise InputError(
                f'{extra}:... needs {module}, which is not installed: pip install "arcformer[{extra}]"'
            ) from None
        raise InputError(f"{extra}:... needs {module}, which needs {error.name}, which is not installed") from error
    except Exception as error:  # torchvision dies of a RuntimeError beside a torch of another build
        raise InputError(
            f"{extra}:... needs {module}, which cannot be imported ({_words(error)}). Where torchvision is another "
            f"build than torch {torch.__version__} (CUDA beside CPU, or another version), install the one that belongs "
            "to it, or none; see arcformer doctor"
        ) from error


class _said_in_words:
    """Errors inside, of whatever kind, become an ``InputError`` of one line."""

    def __init__(self, title: str, what: str):
        self.title, self.what = title, what

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, Exception) and not isinstance(error, InputError):
            raise InputError(f"{self.title} {self.what}: {_words(error)}") from error


def _words(error: Exception) -> str:
    """An error in one line of bearable length."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else f"{text[:297]}..."


def _maybe(name: str, choices: Iterable[str]) -> str:
    """The nearest of many choices, too many to be listed."""
    close = difflib.get_close_matches(name, list(choices), n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _patch(config: Any) -> int:
    """What the sides of images must be multiples of: the stride of the patches, where it is one number."""
    for name in ("patch_stride", "patch_size"):
        sizes = getattr(config, name, None)
        sizes = {sizes} if isinstance(sizes, int) else set(sizes or ())
        if len(sizes) == 1:
            return int(sizes.pop())
    return 1


def _has_weights(source: str) -> bool:
    path = Path(source)
    return path.is_dir() if path.exists() else "/" in source


def _stride(x: Tensor, side: int) -> int | None:
    """The stride of a map (B, D, h, w) on images of ``side`` x 2 ``side``, or None if it is no map of them."""
    if x.ndim != 4 or x.shape[3] != 2 * x.shape[2] or side % x.shape[2]:
        return None
    return side // x.shape[2]


def _reached(maps: list[Tensor]) -> set[int]:
    """The ids of the parameters that ``maps`` were computed from, found in their graph without a backward pass."""
    waiting: list[Any] = [x.grad_fn for x in maps if x.grad_fn is not None]
    seen, found = set(waiting), set()
    while waiting:
        node = waiting.pop()
        if hasattr(node, "variable"):
            found.add(id(node.variable))
        fresh = {after for after, _ in node.next_functions if after is not None} - seen
        seen |= fresh
        waiting += fresh
    return found


def _spread(weight: Tensor, channels: int) -> Tensor:
    """Weights (D, C, ...) of a convolution for another number of channels, that sees as much in as many of them."""
    mean = weight.mean(1, keepdim=True) * (weight.shape[1] / channels)
    return mean.expand(-1, channels, *weight.shape[2:]).contiguous()


def _rechannelled(trained: nn.Module, cls: Any, config: Any, options: dict[str, Any]) -> nn.Module:
    """A network of ``config`` with the weights of ``trained``, which may be for another number of channels."""
    network, state = cls(config, **options), trained.state_dict()
    for name, tensor in network.state_dict().items():
        given = state[name]
        if given.ndim == tensor.ndim == 4 and given.shape[:1] + given.shape[2:] == tensor.shape[:1] + tensor.shape[2:]:
            state[name] = given if given.shape == tensor.shape else _spread(given, tensor.shape[1])
    network.load_state_dict(state)
    return network


def _change_channels(network: nn.Module, channels: int) -> None:
    """Make the first convolution of ``network`` one for ``channels``, in place."""
    first = next((module for module in network.modules() if isinstance(module, nn.Conv2d)), None)
    if first is not None and first.in_channels != channels and first.groups == 1:
        first.weight = nn.Parameter(_spread(first.weight.detach(), channels))
        first.in_channels = channels


def _is_head(module: nn.Module) -> bool:
    """Whether it begins with what makes numbers of maps: a pooling, a flattening, a linear map or its dropout."""
    inner: Iterator[nn.Module] = (each for each in module.modules() if not list(each.children()))
    return isinstance(module, nn.Sequential) and isinstance(
        next(inner, None), nn.Flatten | nn.Linear | nn.Dropout | nn.AdaptiveAvgPool2d
    )

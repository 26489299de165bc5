"""valuecurve: value functions for robot learning, native to the Hugging Face Hub.

A robot episode goes in; at every frame a distribution over the normalised negative time to success comes out.

The classes of `__all__` are imported when one of them is first named (`valuecurve.training` and
`valuecurve.scoring` do), because torch and transformers take seconds to import and reading datasets needs
neither. From then on transformers' `AutoModel`, `AutoProcessor` and the like know all of them.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .configuration_value import ValueConfig
    from .modeling_value import ValueForConditionalGeneration, ValueModel, ValueOutput
    from .pipeline_value import ValuePipeline
    from .processing_value import ValueProcessor

__version__ = "0.1.0"
__all__ = [
    "ValueConfig",
    "ValueForConditionalGeneration",
    "ValueModel",
    "ValueOutput",
    "ValuePipeline",
    "ValueProcessor",
]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    _import_classes()
    return globals()[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _import_classes() -> None:
    """Imports all classes of `__all__` into this module, and makes transformers' Auto classes know them, and
    `transformers.pipeline` the task "value-estimation"."""
    from transformers import AutoConfig, AutoModel, AutoModelForImageTextToText, AutoProcessor
    from transformers.pipelines import PIPELINE_REGISTRY

    from .configuration_value import ValueConfig
    from .modeling_value import ValueForConditionalGeneration, ValueModel, ValueOutput
    from .pipeline_value import ValuePipeline
    from .processing_value import ValueProcessor

    AutoConfig.register(ValueConfig.model_type, ValueConfig)
    AutoModel.register(ValueConfig, ValueModel)
    AutoModelForImageTextToText.register(ValueConfig, ValueForConditionalGeneration)
    AutoProcessor.register(ValueConfig, ValueProcessor)
    if not ValueConfig.pipelines_are_registered:
        PIPELINE_REGISTRY.register_pipeline("value-estimation", ValuePipeline, AutoModel, type="multimodal")
        ValueConfig.pipelines_are_registered = True
    classes = (
        ValueConfig,
        ValueForConditionalGeneration,
        ValueModel,
        ValueOutput,
        ValuePipeline,
        ValueProcessor,
    )
    globals().update({cls.__name__: cls for cls in classes})

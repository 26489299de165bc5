"""valuecurve: value functions for robot learning, native to the Hugging Face Hub.

A robot episode goes in; at every frame a distribution over the normalised negative time to success comes out.
Importing the package makes `AutoModel`, `AutoProcessor` and `AutoConfig` know its classes.
"""

from transformers import AutoConfig, AutoModel, AutoModelForImageTextToText, AutoProcessor

from .configuration_value import ValueConfig
from .modeling_value import ValueForConditionalGeneration, ValueModel, ValueOutput
from .processing_value import ValueProcessor

__version__ = "0.1.0"
__all__ = ["ValueConfig", "ValueForConditionalGeneration", "ValueModel", "ValueOutput", "ValueProcessor"]

AutoConfig.register(ValueConfig.model_type, ValueConfig)
AutoModel.register(ValueConfig, ValueModel)
AutoModelForImageTextToText.register(ValueConfig, ValueForConditionalGeneration)
AutoProcessor.register(ValueConfig, ValueProcessor)

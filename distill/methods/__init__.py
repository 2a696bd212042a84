"""The field's methods, one small module each; every one is a `Term` and combines with any other."""

from .abkd import abkd
from .alignahead import Alignahead, DeepSupervision
from .closed_form import cka, unexplained
from .contrast import GCRD
from .features import AttentionTransfer, FitNet
from .mustad import MustaD
from .pairs import Attention, FixedAttention, LayerPairs
from .stride import stride
from .structure import GSP, LSP

__all__ = [
    "GCRD",
    "GSP",
    "LSP",
    "Alignahead",
    "Attention",
    "AttentionTransfer",
    "DeepSupervision",
    "FitNet",
    "FixedAttention",
    "LayerPairs",
    "MustaD",
    "abkd",
    "cka",
    "stride",
    "unexplained",
]

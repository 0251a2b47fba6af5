"""Prediction and scoring."""

from vlseg.evaluation.evaluate import Setting, evaluate, gallery_for, mean_dice, read_truths
from vlseg.evaluation.overlays import overlay
from vlseg.evaluation.predict import Prediction, predict_image, ready
from vlseg.evaluation.predict_files import PredictedMask, find_images, predict_files
from vlseg.evaluation.predictor import Predictor, load
from vlseg.evaluation.query import Query, clean_queries, swapped_queries

__all__ = [
    "PredictedMask",
    "Prediction",
    "Predictor",
    "Query",
    "Setting",
    "clean_queries",
    "evaluate",
    "find_images",
    "gallery_for",
    "load",
    "mean_dice",
    "overlay",
    "predict_files",
    "predict_image",
    "read_truths",
    "ready",
    "swapped_queries",
]

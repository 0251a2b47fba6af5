"""Prediction and scoring."""

from vlseg.evaluation.answers import Answer, model_answers
from vlseg.evaluation.corruptions import CORRUPTIONS, SEVERITIES, corrupted_queries
from vlseg.evaluation.evaluate import evaluate
from vlseg.evaluation.familiarity import Familiarity, Verdict
from vlseg.evaluation.image_files import find_images
from vlseg.evaluation.judging import (
    Judging,
    copy_judging,
    familiarity_of,
    presence_of,
    read_judging,
    state_of,
    vocabulary_of_model,
    write_judging,
)
from vlseg.evaluation.mask_files import mask_answers
from vlseg.evaluation.mask_names import PredictedMask
from vlseg.evaluation.mean_dice import mean_dice
from vlseg.evaluation.overlays import overlay
from vlseg.evaluation.predict import Prediction, predict_image, ready
from vlseg.evaluation.predict_files import Ask, Wanted, Written, predict_files, predict_missing
from vlseg.evaluation.predictor import Predictor, load
from vlseg.evaluation.presence import PresenceCalibration
from vlseg.evaluation.probe import blind_queries, probe_queries
from vlseg.evaluation.query import Query, clean_queries, swapped_queries
from vlseg.evaluation.scanners import SCANNERS
from vlseg.evaluation.scene import Scene
from vlseg.evaluation.setting import Setting
from vlseg.evaluation.smoothed import predict_smoothed, smoothed_answers, smoothed_queries
from vlseg.evaluation.tensor_scores import score_tensors
from vlseg.evaluation.text_blind import choose_text_blind_rule, text_blind, text_blind_rules
from vlseg.evaluation.truths import MaskReader, read_truths
from vlseg.evaluation.uncertainty import with_flip_uncertainty

__all__ = [
    "CORRUPTIONS",
    "SCANNERS",
    "SEVERITIES",
    "Answer",
    "Ask",
    "Familiarity",
    "Judging",
    "MaskReader",
    "PredictedMask",
    "Prediction",
    "Predictor",
    "PresenceCalibration",
    "Query",
    "Scene",
    "Setting",
    "Verdict",
    "Wanted",
    "Written",
    "blind_queries",
    "choose_text_blind_rule",
    "clean_queries",
    "copy_judging",
    "corrupted_queries",
    "evaluate",
    "familiarity_of",
    "find_images",
    "load",
    "mask_answers",
    "mean_dice",
    "model_answers",
    "overlay",
    "predict_files",
    "predict_image",
    "predict_missing",
    "predict_smoothed",
    "presence_of",
    "probe_queries",
    "read_judging",
    "read_truths",
    "ready",
    "score_tensors",
    "smoothed_answers",
    "smoothed_queries",
    "state_of",
    "swapped_queries",
    "text_blind",
    "text_blind_rules",
    "vocabulary_of_model",
    "with_flip_uncertainty",
    "write_judging",
]

"""What crosses rooms or goes to disk: frozen, versioned, free of torch."""

from vlseg.records.errors import InputError, from_validation, unknown_name
from vlseg.records.files import read_json, replacing, replacing_folder, write_text
from vlseg.records.finding import AREA_EDGES, DatasetStatistics, Finding, Severity, count_by_severity
from vlseg.records.run import (
    WORTH_FILE,
    EvaluationSpec,
    RunConfig,
    RunRecord,
    parse_config,
    read_config,
    read_record,
    write_config,
    write_record,
)
from vlseg.records.sample import (
    LEAKING,
    SOURCES,
    SPLITS,
    Attribute,
    Dataset,
    DatasetInfo,
    IntensityPolicy,
    Sample,
    Source,
    is_deployable,
    verdict,
)
from vlseg.records.score import SampleScore, read_scores, score_columns, write_scores

__all__ = [
    "AREA_EDGES",
    "LEAKING",
    "SOURCES",
    "SPLITS",
    "WORTH_FILE",
    "Attribute",
    "Dataset",
    "DatasetInfo",
    "DatasetStatistics",
    "EvaluationSpec",
    "Finding",
    "InputError",
    "IntensityPolicy",
    "RunConfig",
    "RunRecord",
    "Sample",
    "SampleScore",
    "Severity",
    "Source",
    "count_by_severity",
    "from_validation",
    "is_deployable",
    "parse_config",
    "read_config",
    "read_json",
    "read_record",
    "read_scores",
    "replacing",
    "replacing_folder",
    "score_columns",
    "unknown_name",
    "verdict",
    "write_config",
    "write_record",
    "write_scores",
    "write_text",
]

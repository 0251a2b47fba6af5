"""What the page shows of an evaluation of a smoothed model."""

from typing import Any

from vlseg.metrics import certificates
from vlseg.reports.load import EvaluationOnDisk
from vlseg.reports.words.certificates import about_certificates, about_guarantee


def certificate_facts(evaluation: EvaluationOnDisk) -> dict[str, Any]:
    """Sentence, what is guaranteed, and a line a sigma."""
    known = evaluation.spec.groups_known
    found = certificates(evaluation.scores, groups_known=known)
    return {
        "lines": found,
        "sentence": about_certificates(found, groups_known=known),
        "guarantee": about_guarantee(found[0]) if found else "",
    }

"""Plain ensembles."""

from vlseg.models.architecture import Architecture, later

ENSEMBLE = Architecture(
    about="trained models that answer together, by mean, majority or learned weights",
    build=later("vlseg.models.ensemble.build:build_ensemble"),
    load=later("vlseg.models.ensemble.build:load_ensemble"),
    loads_saved=True,  # its members are model folders inside its own
    resizable=frozenset(),
    composed=True,
    recipes={"corrected": {"regime": "full", "learning_rate": 1e-2}},
)

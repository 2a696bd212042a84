"""The search for an arm's knobs: Optuna on validation accuracy, on seeds of its own."""

from pathlib import Path
from typing import Any

import optuna
from optuna.samplers import TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState, create_trial

from .arms import Place, run_arm
from .settings import StudySettings


def tune_arm(
    study: StudySettings, place: Place, data: str, name: str, scratch_knobs: dict[str, Any]
) -> dict[str, Any]:
    """Return an arm's best knobs.

    Every arm has the same number of trials, each the mean over the same tuning seeds; the first
    trial is the defaults. What was tried is kept, and a search that was killed goes on.

    Args:
        study: The study.
        place: Where its files are.
        data: Name of the data set.
        name: Name of the arm.
        scratch_knobs: Knobs of the network that self-KD learns from.
    """
    space = study.all_arms[name].knobs(study.space)
    if not space or not study.all_arms[name].tune:
        return {}

    def validation(knobs: dict[str, Any]) -> float:
        values = [
            run_arm(study, place, data, name, knobs, seed, scratch_knobs, keep=False)["val"]
            for seed in study.tuning_seeds
        ]
        return sum(values) / len(values)

    def trial(trial: optuna.Trial) -> float:
        knobs = {name: trial.suggest_categorical(name, values) for name, values in space.items()}
        trial.set_user_attr("knobs", knobs)
        return validation(knobs)

    search = _search(_journal(place, data, name))
    finished = search.get_trials(states=(TrialState.COMPLETE,))
    if not finished:
        defaults = create_trial(value=validation({}), user_attrs={"knobs": {}})
        search.add_trial(defaults)
    search.optimize(trial, n_trials=max(0, study.trials - max(1, len(finished))))
    return dict(search.best_trial.user_attrs["knobs"])


def _search(journal: Path) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    search = optuna.create_study(
        study_name="search",
        storage=JournalStorage(JournalFileBackend(str(journal))),
        direction="maximize",
        load_if_exists=True,
    )
    # a search that goes on must not draw again what it drew first
    search.sampler = TPESampler(seed=len(search.trials))
    return search


def _journal(place: Place, data: str, name: str) -> Path:
    path = place.folder / "tuning" / f"{data}-{name.replace('/', '-')}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path

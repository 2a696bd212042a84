"""The search: Optuna proposes candidates, the workbench finds out what they are worth.

Three objectives (accuracy on the validation nodes up, latency and bytes down) and the limits as
constraints, which Optuna's TPE learns to keep. Every proposal and answer is in Optuna's journal, so
that a search that was killed goes on; one study in it for each set of limits.
"""

import random
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.samplers import TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from .front import Facts, excess, is_within
from .settings import BudgetSettings, Candidate, Limits, Space
from .workbench import Workbench

_SURELY = 1.25  # share of a limit: a latency of two rounds may be that wrong
_ANSWERED = (TrialState.COMPLETE, TrialState.PRUNED)


def search(
    workbench: Workbench,
    settings: BudgetSettings,
    journal: Path,
    on_facts: Callable[[Facts, int], None] = lambda facts, trained: None,
) -> list[Facts]:
    """Try candidates until enough are trained, or there are no more.

    Candidates with too many parameters are put aside at once, for counting them costs nothing; of
    the others each kind's smallest and largest come first. Nor is a network looked at where a
    smaller one of its kind is too slow by far. A proposal that was tried before is answered from
    memory, and one follows that was not.

    Args:
        workbench: Finds out what a candidate is worth.
        settings: The search.
        journal: Optuna's journal; a search with the same limits goes on in it.
        on_facts: Called with what was found out of a candidate, and how many are trained by then.

    Returns:
        What is known of every candidate that was looked at.
    """
    space, limits = settings.space, settings.limits
    known = {c: Facts(c, workbench.parameters(c)) for c in space.candidates()}
    small = [c for c, facts in known.items() if is_within(facts, limits)]
    study = _study(journal, settings, _ends(small, known))
    tried = {_proposed(t.params, space) for t in study.get_trials(states=_ANSWERED)} & set(small)
    known |= {candidate: workbench.examine(candidate) for candidate in sorted(tried)}
    while _trained(known) < settings.trials:
        slow = {c: witness for c in small if (witness := _slower_than(c, known, limits))}
        left = sorted(set(small) - tried - slow.keys())
        if not left:
            break
        # drawn anew for each trial: a search that goes on must not draw again what it drew first
        study.sampler = TPESampler(seed=settings.train.seed + len(study.trials))
        trial = study.ask(_distributions(space))
        candidate = _proposed(trial.params, space)
        if candidate in left:
            known[candidate] = workbench.examine(candidate)
            tried.add(candidate)
            on_facts(known[candidate], _trained(known))
        else:
            other = random.Random(len(study.trials)).choice(left)
            study.enqueue_trial(_as_proposal(other, space))
        _answer(study, trial, slow.get(candidate, known[candidate]), limits)
    return list(known.values())


def _slower_than(
    candidate: Candidate, known: Mapping[Candidate, Facts], limits: Limits
) -> Facts | None:
    """Return what is known of a smaller network of the kind that is too slow already, if any is."""
    for other, facts in known.items():
        smaller = other.depth <= candidate.depth and other.width <= candidate.width
        too_slow = excess(facts, limits).get("latency_ms", 0.0) > _SURELY
        if other.kind == candidate.kind and other != candidate and smaller and too_slow:
            return facts
    return None


def _study(journal: Path, settings: BudgetSettings, first: Iterable[Candidate]) -> optuna.Study:
    """Open the study of these limits; what was running when it was killed is run again."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    journal.parent.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        study_name=f"{settings.limits} {settings.space.model_dump_json()}",
        storage=JournalStorage(JournalFileBackend(str(journal))),
        directions=("maximize", "minimize", "minimize"),
        load_if_exists=True,
    )
    if not study.trials:
        for candidate in first:
            study.enqueue_trial(_as_proposal(candidate, settings.space))
    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
        study.enqueue_trial(trial.params)
    return study


def _ends(small: list[Candidate], known: Mapping[Candidate, Facts]) -> list[Candidate]:
    """Return each kind's candidates with fewest and most parameters, the smallest ones first."""
    kinds = dict.fromkeys(candidate.kind for candidate in small)
    ranked = [
        sorted((c for c in small if c.kind == kind), key=lambda c: known[c].parameters)
        for kind in kinds
    ]
    return list(dict.fromkeys([*(r[0] for r in ranked), *(r[-1] for r in ranked)]))


# depths and widths are proposed by their place in the list: TPE then knows what lies beside what
def _distributions(space: Space) -> dict[str, BaseDistribution]:
    return {
        "kind": CategoricalDistribution(space.kinds),
        "depth": IntDistribution(0, len(space.depths) - 1),
        "width": IntDistribution(0, len(space.widths) - 1),
    }


def _proposed(parameters: Mapping[str, Any], space: Space) -> Candidate:
    kind, depth, width = (parameters[name] for name in ("kind", "depth", "width"))
    return Candidate(kind, space.depths[depth], space.widths[width])


def _as_proposal(candidate: Candidate, space: Space) -> dict[str, Any]:
    return {
        "kind": candidate.kind,
        "depth": space.depths.index(candidate.depth),
        "width": space.widths.index(candidate.width),
    }


def _trained(known: Mapping[Candidate, Facts]) -> int:
    return sum(facts.val_accuracy is not None for facts in known.values())


def _answer(study: optuna.Study, trial: optuna.Trial, facts: Facts, limits: Limits) -> None:
    """Tell Optuna what a candidate is worth, and by how much it passes a limit."""
    if facts.problem:
        study.tell(trial, state=TrialState.FAIL)
        return
    for name, share in excess(facts, limits).items():
        trial.set_constraint(name, share - 1)
    if facts.val_accuracy is None:
        study.tell(trial, state=TrialState.PRUNED)
    else:
        study.tell(trial, [facts.val_accuracy, *facts.cost])

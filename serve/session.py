"""Session: a bundle made callable."""

import os
from collections.abc import Mapping, Sequence
from typing import Any, cast, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .blocks import answers, as_graph, block_inputs
from .bundle import Bundle
from .errors import InputError
from .features import quantise_features
from .graph import Graph, check_csr, check_ids, in_degree
from .inputs import check_finite, check_range, entries, fit, num_nodes_of, with_graph
from .runtime import CPU, options_for, register, register_installed, start, usable_processors
from .tensors import TensorSpec
from .typed import check_typed_csr, prepare_typed, with_typed_graphs

Array = NDArray[Any]


class Session:
    """Runs the model of a bundle with ONNX Runtime. Calls may come from many threads at once.

        session = Session("student")
        logits = session(x=x, edge_index=edge_index)["logits"]

    For many calls on one graph, sort it once: `graph = session.prepare(edge_index, num_nodes)` and
    `session(x=x, graph=graph)`. A bundle that stores features as int8 is best given them so,
    `session(**session.quantise(x), graph=graph)`; floats are rounded in every call. A model of the
    blocks lowering answers for seeds, `session(session.blocks(graph, seeds, x=x))`.

    Args:
        bundle: A bundle, or the path of one.
        threads: Threads that one call may use; None means all processors this process may use.
        providers: ONNX Runtime's execution providers in order of preference; the CPU if None.
        native: Whether to use the C++ operators where they are installed; or the path of another
            library of operators, such as one for a GPU.
        validate: Whether to refuse NaN and infinite inputs, at the price of reading them once.

    Raises:
        BundleError: If the bundle is damaged or not allowed.
        ProviderError: If the first provider cannot be had.
    """

    def __init__(
        self,
        bundle: Bundle | str | os.PathLike[str],
        *,
        threads: int | None = None,
        providers: Sequence[str] | None = None,
        native: bool | str | os.PathLike[str] = True,
        validate: bool = False,
    ) -> None:
        if threads is not None and threads < 1:
            raise ValueError(f"threads must be at least 1, got {threads}")
        self.bundle = bundle if isinstance(bundle, Bundle) else Bundle.load(bundle)
        self.threads = threads or usable_processors()
        self._validate = validate
        options = options_for(self.threads)
        if isinstance(native, bool):
            self.native_operators = native and register_installed(options)
        else:
            self.native_operators = register(options, native)
        self._session = start(self.bundle, options, list(providers or [CPU]))

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The inputs that a call must give."""
        return self.bundle.manifest.inputs

    @overload
    def prepare(self, edge_index: ArrayLike, num_nodes: int) -> Graph: ...

    @overload
    def prepare(
        self, edge_index: Mapping[tuple[str, ...], ArrayLike], num_nodes: Mapping[str, int]
    ) -> dict[tuple[str, ...], Graph]: ...

    def prepare(self, edge_index: Any, num_nodes: Any) -> Graph | dict[tuple[str, ...], Graph]:
        """Sort a graph once, to pass it to many calls in place of edge_index.

        Args:
            edge_index: Sources and destinations, [2, num_edges], int64 or int32, any order; a
                dictionary of such, by type of edges, for a graph of several types.
            num_nodes: Number of nodes; by type of nodes for a graph of several types.

        Raises:
            InputError: If something is no edge list, or an id is outside [0, num_nodes).
        """
        if isinstance(edge_index, Mapping):
            return prepare_typed(self.bundle.manifest, edge_index, num_nodes)
        return Graph.from_edge_index(edge_index, num_nodes)

    def blocks(
        self, graph: Graph | ArrayLike, seeds: ArrayLike, *, seed: int = 0, **whole: ArrayLike
    ) -> dict[str, Array]:
        """Cut out of a whole graph what a model of the blocks lowering takes to answer for seeds.

            logits = session(session.blocks(graph, [3, 5], x=x))["logits"]

        Rows do not refer to each other: those of several calls may be concatenated.

        Args:
            graph: The graph, from `prepare`, or an edge list.
            seeds: Nodes to answer for, [batch].
            seed: Chooses neighbours where there are more than fit.
            whole: Features of all nodes and edges, by the name of the input; `in_degree` too, or
                it is counted.

        Raises:
            InputError: See `serve.block_inputs`.
        """
        return block_inputs(self.bundle.manifest, as_graph(graph, whole), seeds, whole, seed=seed)

    def answer(
        self,
        graph: Graph | ArrayLike,
        seeds: ArrayLike,
        *,
        seed: int = 0,
        batch: int = 256,
        **whole: ArrayLike,
    ) -> dict[str, Array]:
        """Answer for any number of seeds with a model of the blocks lowering, batch by batch.

        Arguments are those of `blocks`; batch is the number of seeds in one call, where the model
        leaves that free.
        """
        graph, manifest = as_graph(graph, whole), self.bundle.manifest
        return answers(self, manifest, graph, seeds, whole, seed=seed, batch=batch)

    @property
    def takes_int8(self) -> bool:
        """Whether the model reads features as int8."""
        return any(spec.name == "x" and spec.dtype == "int8" for spec in self.inputs)

    def quantise(self, x: ArrayLike) -> dict[str, Array]:
        """Return features as this model reads them: x, and x_scale where it takes int8.

        See `serve.quantise_features`.
        """
        return quantise_features(x) if self.takes_int8 else {"x": np.asarray(x)}

    def in_degree(
        self, edge_index: ArrayLike, num_nodes: int, edge_weight: ArrayLike | None = None
    ) -> Array:
        """Count in-degrees as this model normalises by them, for its input `in_degree`.

        See `serve.in_degree`. Count on the whole graph, and pass the part of a subgraph's nodes.
        """
        manifest = self.bundle.manifest
        return in_degree(
            edge_index,
            num_nodes,
            edge_weight,
            add_self_loops=manifest.add_self_loops,
            fill_value=manifest.fill_value,
        )

    def __call__(
        self, inputs: Mapping[str, Any] | None = None, /, **named: Any
    ) -> dict[str, Array]:
        """Run the model.

        Args:
            inputs: Inputs by name.
            named: The same, as keywords. A graph is given as edge_index, as a `Graph` from
                `prepare` under any name, or, to a model exported with graph="csr", as rowptr and
                col. What belongs to an edge follows the order of the edges given. Inputs by type of
                nodes or edges may also be given as the module takes them, as dictionaries by type,
                which may hold a `Graph` for each type of edges.

        Returns:
            Outputs by name.

        Raises:
            InputError: If an input is missing, unknown, or of the wrong type, shape or range.
        """
        values = self._run(self._feeds({**(inputs or {}), **named}))
        names = [output.name for output in self.bundle.manifest.outputs]
        return dict(zip(names, values, strict=True))

    def _run(self, feeds: dict[str, Array]) -> list[Array]:
        """Return the outputs in the order of the manifest; other runtimes have theirs."""
        try:
            return cast(list[Array], self._session.run(None, feeds))
        except Exception as error:
            raise _explained(error) from error

    def flat(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Return inputs by their names in the file, where some are given as dictionaries by type.

        Raises:
            InputError: If a dictionary is given for what is none, or has a key that the model has
                not.
        """
        return {
            name: entry
            for argument, value in inputs.items()
            for name, entry in entries(self.bundle.manifest.edge_list_inputs, argument, value)
        }

    def _feeds(self, given: dict[str, Any]) -> dict[str, Array]:
        given, manifest = self.flat(given), self.bundle.manifest
        if manifest.graph == "typed":
            given, proven = with_typed_graphs(manifest, given)
            feeds = self._checked(given)
            check_typed_csr(manifest, feeds, proven)
            return feeds
        graphs = [name for name, value in given.items() if isinstance(value, Graph)]
        if len(graphs) > 1:
            raise InputError(f"one graph is enough, got {', '.join(graphs)}")
        graph = given.pop(graphs[0]) if graphs else None
        if self.takes_int8 and "x" in given and np.asarray(given["x"]).dtype == np.float32:
            given |= quantise_features(given["x"])
        num_nodes = num_nodes_of(manifest.inputs, given)
        if manifest.graph == "csr" and "edge_index" in given:
            graph = self.prepare(given.pop("edge_index"), num_nodes)
        if graph is not None:
            given = with_graph(manifest, given, graph, num_nodes)
        feeds = self._checked(given)
        if graph is None:
            self._check_graph(feeds, num_nodes)
        return feeds

    def _checked(self, given: dict[str, Any]) -> dict[str, Array]:
        """Return all inputs as arrays that fit the manifest."""
        specs = {spec.name: spec for spec in self.inputs}
        optional = {"in_degree"} if self.bundle.manifest.in_degree else set()
        missing, unknown = specs.keys() - given.keys(), given.keys() - specs.keys() - optional
        if missing or unknown:
            wrong = [f"missing {n}" for n in sorted(missing)]
            wrong += [f"unknown {n}" for n in sorted(unknown)]
            raise InputError(f"inputs must be {', '.join(specs)}: {', '.join(wrong)}")
        feeds, sizes = {}, dict[str, int]()
        for name, spec in specs.items():
            feeds[name] = fit(spec, given[name], sizes)
        for spec in specs.values():
            check_range(spec, feeds[spec.name], sizes)
        if optional & given.keys():
            spec = TensorSpec("in_degree", "float32", ("num_nodes",))
            feeds["in_degree"] = fit(spec, given["in_degree"], sizes)
        for dim, limit in self.bundle.manifest.limits.items():
            if sizes.get(dim, 0) > limit:
                raise InputError(f"{dim} may be at most {limit}, got {sizes[dim]}")
        if self._validate:
            check_finite(feeds)
        return feeds

    def _check_graph(self, feeds: dict[str, Array], num_nodes: int) -> None:
        """Check ids, unless the model checks them itself."""
        form = self.bundle.manifest.graph
        if form == "csr":
            check_csr(feeds["rowptr"], feeds["col"], (num_nodes, num_nodes))
        elif form == "edge_index" and not self._model_checks_ids:
            check_ids(feeds["edge_index"], num_nodes)

    @property
    def _model_checks_ids(self) -> bool:
        """Whether ids are checked in the call: the C++ `csr` does so while it counts."""
        return self.native_operators


def _explained(error: Exception) -> Exception:
    """Return what an operator of ours says about its inputs as an InputError."""
    status, found, said = str(error).partition("Status Message: graphstill.")
    # what else may fail, such as a GPU's driver, is no fault of the inputs
    about_inputs = found and "INVALID_ARGUMENT" in status
    return InputError(said.partition(": ")[2]) if about_inputs else error

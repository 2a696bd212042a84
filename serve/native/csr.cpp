// The node of csr; kernels/native/csr.h sorts.

#include "../../kernels/native/csr.h"

#include "kernels.h"

namespace graphstill {
namespace {

[[noreturn]] void refuse(const csr::Edges& edges, int64_t edge) {
  const bool source = !csr::in_range(edges.src[edge], edges.num_src);
  throw std::invalid_argument(
      "edge " + std::to_string(edge) + " names " + (source ? "source " : "destination ") +
      std::to_string(source ? edges.src[edge] : edges.dst[edge]) + ", ids must lie in [0, " +
      std::to_string(source ? edges.num_src : edges.num_dst) + ")");
}

}  // namespace

void Csr::compute(const Context& context) const {
  const auto edge_index = context.input<int64_t>(0);
  const auto num_src = context.input<int64_t>(1);
  const auto num_dst = context.input<int64_t>(2);
  require(edge_index.shape.size() == 2 && edge_index.shape[0] == 2,
          "edge_index must have the shape [2, num_edges]");
  const int64_t count = edge_index.shape[1];
  const csr::Edges edges{edge_index.data, edge_index.data + count, count, *num_src.data, *num_dst.data};
  require(edges.num_src >= 0 && edges.num_dst >= 0, "the number of nodes must not be negative");
  require(edges.num_src <= std::numeric_limits<int32_t>::max(), "source ids must fit into int32");
  int64_t* rowptr = context.output<int64_t>(0, {edges.num_dst + 1});
  int32_t* col = context.output<int32_t>(1, {count});
  int64_t* perm = context.output<int64_t>(2, {count});
  const auto parallel = [&](int64_t tasks, const auto& body) { context.parallel_for(tasks, body); };
  const int64_t bad = csr::sort(parallel, edges, rowptr, col, perm);
  if (bad != csr::kNoEdge) refuse(edges, bad);
}

}  // namespace graphstill

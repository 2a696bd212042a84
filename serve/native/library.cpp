// The entry point ONNX Runtime looks for: adds the operators to a session's options.

#include "../../kernels/native/level.h"
#include "kernels.h"

namespace graphstill {
namespace {

template <class Kernel>
void add(const OrtApi* api, OrtCustomOpDomain* domain) {
  static const Op<Kernel> op;
  checked(api, slot::kCustomOpDomainAdd, domain, (const CustomOp*)&op);
}

void add_operators(const OrtApi* api, OrtCustomOpDomain* created) {
  add<Csr>(api, created);
  add<GcnNorm>(api, created);
  add<Spmm>(api, created);
  add<SpmmUpdate>(api, created);
  add<SpmmHeads>(api, created);
  add<SpmmInt8>(api, created);
  add<SpmmInt8Rows>(api, created);
  add<QuantizeRows>(api, created);
  add<LinearInt8>(api, created);
  add<Extremum>(api, created);
  add<Gat>(api, created);
  add<GatMean>(api, created);
  add<GatUpdate>(api, created);
  add<Gatv2>(api, created);
  add<Gatv2Mean>(api, created);
  add<Gatv2Update>(api, created);
  add<DotAttention>(api, created);
  add<DotAttentionMean>(api, created);
  add<EdgeRows>(api, created);
  add<EdgeSoftmax>(api, created);
  add<Sddmm>(api, created);
  add<RelationalCsr>(api, created);
}

void add_domain(OrtSessionOptions* options, const OrtApi* api) {
  // lives as long as the process: sessions keep a pointer to it
  static OrtCustomOpDomain* domain = [api] {
    OrtCustomOpDomain* created = nullptr;
    checked(api, slot::kCreateCustomOpDomain, "graphstill", &created);
    add_operators(api, created);
    return created;
  }();
  checked(api, slot::kAddCustomOpDomain, options, domain);
}

}  // namespace
}  // namespace graphstill

// For the library of a GPU's operators (cuda/): a domain has one owner, and a session needs both.
extern "C" __attribute__((visibility("default"))) void graphstill_add_operators(
    const graphstill::OrtApi* api, graphstill::OrtCustomOpDomain* domain) {
  graphstill::add_operators(api, domain);
}

extern "C" __attribute__((visibility("default"))) graphstill::OrtStatus* RegisterCustomOps(
    graphstill::OrtSessionOptions* options, const graphstill::OrtApiBase* base) {
  using namespace graphstill;
  const OrtApi* api = base->get_api(kApiVersion);
  if (api == nullptr) return nullptr;  // ONNX Runtime before 1.17: it has said so on stderr
  try {
    add_domain(options, api);
    return nullptr;
  } catch (const std::exception& error) {
    return call<OrtStatus*>(api, slot::kCreateStatus, kFail, error.what());
  }
}

#include "plan/footprint.h"

#include "plan/wall.h"

namespace varve {
namespace {

// An index says nothing of the shards' headers, and its size is its writer's word.
std::string_view weights_label(WeightSource source) {
  switch (source) {
    case WeightSource::files:
      return "weights";
    case WeightSource::index:
      return "weights, as the index has them";
    case WeightSource::config:
      break;
  }
  return "weights, as the config has them";
}

}  // namespace

Result<Footprint> footprint(const Model& model, const EngineOptions& options,
                            const ProcessBytes& process, size_t memory_bytes) {
  Footprint out;
  out.process = process;
  const auto bounded = options_within(model, options, process, memory_bytes);
  VARVE_TRY(out.memory, Engine::plan(model, bounded.value_or(options)));
  const MemoryPlan& memory = out.memory;
  const auto add = [&](std::string_view name, size_t bytes, Known known = Known::exact) {
    if (bytes > 0) out.parts.push_back({std::string(name), bytes, known});
  };
  const WeightSource source = model.weight_source();
  add(weights_label(source), memory.weight_bytes,
      source == WeightSource::files ? Known::exact : Known::assumed);
  add("small tensors as f32", memory.vector_bytes);
  size_t counted = 0;
  for (const PoolInfo& info : pools()) {
    add(info.label, memory.cache.pools[info.pool]);
    counted += memory.cache.pools[info.pool];
  }
  add("state of sequences, tables, ids", memory.cache_bytes() - counted);
  add(fmt::format("scratch of a chunk of {}", memory.chunk_tokens),
      memory.scratch_bytes() - memory.thread_bytes());
  add("scratch of threads", memory.thread_bytes());
  add("logits", memory.logits_bytes());
  add("tokenizer, sampler, tensor names", process.tables + process.tokenizer,
      process.tokenizer_known);
  add("program: code and libraries", process.program, Known::assumed);
  add("heap, stacks", process.heap, Known::assumed);
  add("page tables of the weights", process.page_tables, Known::assumed);
  return out;
}

int largest_context_within(const Model& model, EngineOptions options, const ProcessBytes& process,
                           size_t memory_bytes) {
  options.ctx_tokens = model.max_position();
  const auto bounded = options_within(model, options, process, memory_bytes);
  return bounded ? Engine::largest_context(model, *bounded) : 0;
}

}  // namespace varve

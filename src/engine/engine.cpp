#include "engine/engine.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "base/cpu.h"
#include "base/memory.h"

namespace varve {
namespace {

// The largest and the least chunk that is chosen; powers of two. Shorter ones read the weights
// nearly as often as decoding does: whoever wants that says so.
constexpr int kMaxAutoChunk = 512;
constexpr int kLeastAutoChunk = 32;

// Counts up with every change of a kernel or a forward pass that changes a bit of a row: what a
// store holds is then of another model.
constexpr int kNumericsVersion = 1;

constexpr int kMostKeptTokens = 1 << 26, kMostKeptPoints = 1 << 16;

Result<EngineOptions> checked(const Model& model, EngineOptions options) {
  if (options.kernels == nullptr) {
    VARVE_TRY(options.kernels, select_kernels(""));
  }
  if (options.n_threads == 0) options.n_threads = usable_cores();
  if (options.n_threads < 1 || options.n_threads > 1024) {
    return usage_error("--threads {}: expected 1 to 1024", options.n_threads);
  }
  if (options.ctx_tokens < 1) {
    return usage_error("--ctx {}: expected at least 1 token", options.ctx_tokens);
  }
  if (options.ctx_tokens > model.max_position()) {
    return usage_error("--ctx {}: the model was made for at most {} tokens", options.ctx_tokens,
                       model.max_position());
  }
  if (options.chunk_tokens < 0 || options.chunk_tokens > 65536) {
    return usage_error("--chunk {}: expected 1 to 65536 tokens", options.chunk_tokens);
  }
  if (options.n_sessions < 1 || options.n_sessions > kMaxLogitRows) {
    return usage_error("{} sessions: expected 1 to {}", options.n_sessions, kMaxLogitRows);
  }
  if (options.resume_points < 0 || options.resume_points > 1024) {
    return usage_error("{} resume points: expected 0 to 1024", options.resume_points);
  }
  if (options.kept_tokens < 0 || options.kept_tokens > kMostKeptTokens || options.kept_points < 0 ||
      options.kept_points > kMostKeptPoints) {
    return usage_error("{} tokens and {} resume points to keep: expected up to {} and {}",
                       options.kept_tokens, options.kept_points, kMostKeptTokens, kMostKeptPoints);
  }
  if (options.mixed_prefill_tokens < 1) {
    return usage_error("{} tokens of prefill beside decoding: expected 1 or more",
                       options.mixed_prefill_tokens);
  }
  if (options.resume_interval_tokens < 1 || options.store_interval_tokens < 1) {
    return usage_error("a resume point every {} tokens: expected 1 or more",
                       options.resume_interval_tokens);
  }
  return options;
}

// The sum of the parts whose names begin like this.
size_t sum_of(const std::vector<ArenaPart>& parts, std::string_view prefix) {
  size_t bytes = 0;
  for (const ArenaPart& part : parts) {
    if (part.name.starts_with(prefix)) bytes += part.bytes;
  }
  return bytes;
}

bool fits_budget(const EngineOptions& options, const MemoryPlan& plan) {
  return options.arena_budget_bytes == 0 || plan.arena_bytes <= options.arena_budget_bytes;
}

// The kernel's tables of small pages, which a cgroup is charged for: 8 bytes for each of 4 KiB.
constexpr size_t kBytesPerTableByte = 512;

// What is still to be taken of the model: its weights are counted whole, mapped or copied.
size_t model_bytes(const MemoryPlan& plan) {
  return plan.weight_bytes + plan.vector_bytes - plan.loaded_bytes;
}

// Whether the machine has room for a run, and this much more.
bool fits_machine(const EngineOptions& options, const MemoryPlan& plan, const Spare& spare) {
  const size_t tables = plan.arena_bytes / kBytesPerTableByte;
  const size_t beside = model_bytes(plan) + tables + spare.memory_bytes;
  const size_t available = available_memory_bytes();
  return beside <= available && plan.arena_bytes <= available - beside &&
         address_space_bytes(options, plan) + spare.address_bytes <= address_space_left_bytes();
}

tl::unexpected<Error> refuse(const EngineOptions& options, const MemoryPlan& plan) {
  const auto text = [](size_t bytes) { return human_bytes(static_cast<double>(bytes)); };
  const std::string parts =
      fmt::format("{} of cache, {} of scratch and logits", text(plan.cache_bytes()),
                  text(plan.arena_bytes - plan.cache_bytes()));
  if (!fits_budget(options, plan)) {
    return usage_error("{} tokens of context need {} bytes ({}); the budget is {} ({})",
                       options.ctx_tokens, plan.arena_bytes, parts, options.arena_budget_bytes,
                       text(options.arena_budget_bytes));
  }
  const size_t available = std::min(available_memory_bytes(), address_space_left_bytes());
  return usage_error("{} tokens of context need {} ({} of weights, {}); {} are available",
                     options.ctx_tokens, text(plan.total_bytes()),
                     text(plan.weight_bytes + plan.vector_bytes), parts, text(available));
}

}  // namespace

Digest store_fingerprint(const Digest& model, const EngineOptions& options) {
  const PoolFormats& formats = options.formats;
  std::string text = fmt::format("numerics {}; {}; {};", kNumericsVersion, options.kernels->name,
                                 options.products == Products::bf16 ? "bf16" : "f32");
  for (const PoolInfo& info : pools()) {
    text += fmt::format(" {}={}", info.name, row_format_name(formats.of(info.pool)));
  }
  text += fmt::format("; sinks {}, recent {}, rotation {}", formats.sink_tokens,
                      formats.recent_tokens, static_cast<int>(formats.rotation));
  Sha256 hash;
  hash.add(model);
  hash.add(std::as_bytes(std::span(text)));
  return hash.finish();
}

size_t address_space_bytes(const EngineOptions& options, const MemoryPlan& plan) {
  const size_t n_stacks = static_cast<size_t>(std::max(0, options.n_threads - 1));
  const size_t tensors = plan.vector_bytes - std::min(plan.vector_bytes, plan.loaded_bytes);
  return plan.arena_bytes + n_stacks * thread_stack_bytes() + tensors;
}

size_t MemoryPlan::cache_bytes() const {
  return sum_of(parts, "cache");
}

size_t MemoryPlan::logits_bytes() const {
  return sum_of(parts, "logits");
}

size_t MemoryPlan::thread_bytes() const {
  return sum_of(parts, "workspace") + sum_of(parts, "index scores") +
         sum_of(parts, "attention row lists") + sum_of(parts, "attention of threads");
}

// Runs twice: over a dry builder to learn the size, then over the arena.
void Engine::lay_out(ArenaBuilder& arena) {
  runner_ = model_->bind(arena, *exec_,
                         {.max_tokens = options_.chunk_tokens,
                          .ctx_tokens = options_.ctx_tokens,
                          .formats = options_.formats});
  cache_->lay_out(arena);
  const size_t n =
      static_cast<size_t>(options_.n_sessions) * static_cast<size_t>(model_->vocab_size());
  logits_ = arena.take<float>("logits", n);
  step_logits_ = arena.take<float>("logits", n);
}

Result<MemoryPlan> Engine::plan(const Model& model, const EngineOptions& wanted) {
  VARVE_TRY(EngineOptions options, checked(model, wanted));
  // A step never holds more tokens than a context has.
  const int most = std::max(options.ctx_tokens, options.n_sessions);
  if (options.chunk_tokens > 0) {
    options.chunk_tokens = std::min(options.chunk_tokens, most);
    return dry_run(model, options);
  }
  for (int chunk = kMaxAutoChunk;; chunk /= 2) {
    options.chunk_tokens = std::min(chunk, most);
    MemoryPlan plan = dry_run(model, options);
    const bool small = plan.scratch_bytes() - plan.thread_bytes() <= kMaxAutoScratchBytes;
    if ((small && fits_budget(options, plan)) || chunk == kLeastAutoChunk) return plan;
  }
}

Result<MemoryPlan> Engine::fit(const Model& model, const EngineOptions& wanted,
                               const Spare& spare) {
  return fit_beside(model, wanted, spare, model.loaded_bytes());
}

Result<MemoryPlan> Engine::fit_beside(const Model& model, const EngineOptions& wanted,
                                      const Spare& spare, size_t loaded_bytes) {
  VARVE_TRY(EngineOptions options, checked(model, wanted));
  VARVE_TRY(MemoryPlan fitting, plan(model, options));
  fitting.loaded_bytes = loaded_bytes;
  const bool open = options.chunk_tokens == 0;
  const auto fits = [&] { return fits_machine(options, fitting, spare); };
  while (open && fitting.chunk_tokens > kLeastAutoChunk && !fits()) {
    options.chunk_tokens = std::max(kLeastAutoChunk, fitting.chunk_tokens / 2);
    fitting = dry_run(model, options);
    fitting.loaded_bytes = loaded_bytes;
  }
  if (fits_budget(options, fitting) && fits()) return fitting;
  return refuse(options, fitting);
}

int Engine::largest_context(EngineOptions options,
                            const std::function<bool(const EngineOptions&)>& accept) {
  if (accept(options)) return options.ctx_tokens;
  int low = 0, high = (options.ctx_tokens - 1) / kBlockTokens;
  while (low < high) {
    const int middle = low + (high - low + 1) / 2;
    options.ctx_tokens = middle * kBlockTokens;
    if (accept(options)) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return low * kBlockTokens;
}

int Engine::largest_context(const Model& model, const EngineOptions& options) {
  return largest_context(options, [&](const EngineOptions& some) {
    const auto plan = Engine::plan(model, some);
    return plan && fits_budget(some, *plan);
  });
}

MemoryPlan Engine::dry_run(const Model& model, const EngineOptions& options) {
  Engine engine;
  // Not owned: the dry engine does not outlive this call.
  engine.assemble(std::shared_ptr<const Model>(std::shared_ptr<void>(), &model), options);
  ArenaBuilder dry;
  engine.lay_out(dry);
  return {.chunk_tokens = options.chunk_tokens,
          .cache = engine.cache_->bytes(),
          .parts = dry.parts(),
          .arena_bytes = dry.bytes(),
          .weight_bytes = model.weight_bytes(),
          .vector_bytes = model.vector_bytes(),
          .loaded_bytes = model.loaded_bytes()};
}

void Engine::assemble(std::shared_ptr<const Model> model, const EngineOptions& options) {
  model_ = std::move(model);
  options_ = options;
  pool_ = std::make_unique<ThreadPool>(options.n_threads);
  exec_ = std::make_unique<Exec>(*options.kernels, *pool_, options.products);
  cache_ = std::make_unique<Cache>(model_->cache_shape(),
                                   CacheOptions{.formats = options.formats,
                                                .ctx_tokens = options.ctx_tokens,
                                                .n_sequences = options.n_sessions,
                                                .resume_points = options.resume_points,
                                                .kept_blocks = options.kept_tokens / kBlockTokens,
                                                .kept_points = options.kept_points,
                                                .root = options.cache_root});
}

Result<std::unique_ptr<Engine>> Engine::create(std::shared_ptr<const Model> model,
                                               const EngineOptions& wanted) {
  VARVE_TRY(EngineOptions options, checked(*model, wanted));
  // A loaded model has been held against the machine before; zeros in its place take no memory.
  const bool is_loaded = model->has_values();
  const Spare spare = is_loaded ? Spare{.memory_bytes = 0, .address_bytes = 0} : Spare{};
  const size_t loaded_bytes =
      is_loaded ? model->loaded_bytes() : model->weight_bytes() + model->vector_bytes();
  VARVE_TRY(MemoryPlan memory, fit_beside(*model, options, spare, loaded_bytes));
  options.chunk_tokens = memory.chunk_tokens;

  std::unique_ptr<Engine> engine(new Engine);
  engine->assemble(std::move(model), options);
  engine->memory_ = std::move(memory);
  VARVE_TRY(engine->arena_, Arena::create(engine->memory_.arena_bytes));
  VARVE_CHECKED(engine->pool_->start());
  ArenaBuilder wet(engine->arena_.data());
  engine->lay_out(wet);
  if (wet.bytes() != engine->memory_.arena_bytes) {
    return fail(ErrorKind::internal, "the arena was planned at {} bytes and takes {}",
                engine->memory_.arena_bytes, wet.bytes());
  }
  const auto n_sessions = static_cast<size_t>(options.n_sessions);
  engine->sessions_.assign(n_sessions, nullptr);
  engine->batch_ids_.reserve(static_cast<size_t>(options.chunk_tokens));
  engine->segments_.reserve(n_sessions);
  engine->segment_slots_.reserve(n_sessions);
  engine->logit_rows_.reserve(n_sessions);
  return engine;
}

Engine::~Engine() {
  for (Session* const session : sessions_) {
    if (session != nullptr) session->leave();
  }
}

Result<Session> Engine::new_session() {
  VARVE_TRY(Sequence sequence, cache_->new_sequence());
  return adopt(std::move(sequence));
}

Result<void> Engine::check_ids(std::span<const int32_t> ids) const {
  const int vocab = model_->vocab_size();
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || ids[i] >= vocab) {
      return usage_error("token {} has id {}; the vocabulary has ids 0 to {}", i, ids[i],
                         vocab - 1);
    }
  }
  return {};
}

Result<Session> Engine::new_session(std::span<const int32_t> ids) {
  VARVE_CHECKED(check_ids(ids));
  if (!cache_->has_free_sequence()) {
    return usage_error("all {} sessions are in use", options_.n_sessions);
  }
  if (persistence_) stored_tokens_ += static_cast<uint64_t>(persistence_->restore(ids));
  VARVE_TRY(Sequence sequence, cache_->new_sequence(ids));
  VARVE_CHECKED(sequence.reserve(static_cast<int>(ids.size())));
  VARVE_TRY(Session session, adopt(std::move(sequence)));
  session.n_reused_ = session.n_tokens();
  asked_tokens_ += ids.size();
  reused_tokens_ += static_cast<uint64_t>(session.n_reused_);
  session.n_pending_ = static_cast<int>(ids.size()) - session.n_tokens();
  if (session.n_pending_ == 0 && !ids.empty()) {
    runner_->logits_of_newest(session.sequence_, session.logits_);
    session.has_logits_ = true;
  }
  return session;
}

void Engine::set_store(Store& store) {
  persistence_ = std::make_unique<Persistence>(*cache_, store);
}

Result<Session> Engine::adopt(Sequence sequence) {
  const auto free = std::find(sessions_.begin(), sessions_.end(), nullptr);
  const auto slot = free - sessions_.begin();
  return Session(this, static_cast<int>(slot), std::move(sequence),
                 logits_ + slot * static_cast<std::ptrdiff_t>(model_->vocab_size()));
}

// Picks the tokens of the next step: first of sessions that wait for one token, which decode, then
// of those that read more.
int Engine::schedule() {
  batch_ids_.clear();
  segments_.clear();
  segment_slots_.clear();
  logit_rows_.clear();
  int left = take_turns(options_.chunk_tokens, true);
  if (!segments_.empty()) left = std::min(left, options_.mixed_prefill_tokens);
  take_turns(left, false);
  next_slot_ = (next_slot_ + 1) % static_cast<int>(sessions_.size());
  return static_cast<int>(batch_ids_.size());
}

// Sessions take turns, another one first at each step. What is left of the chunk is shared evenly
// by those that are still to come, but none reads past a multiple of the resume interval, where a
// resume point is due. Returns what is left then.
int Engine::take_turns(int left, bool decoding) {
  const int n_slots = static_cast<int>(sessions_.size());
  const auto waits = [&](const Session* session) {
    return session != nullptr && session->n_pending() > 0 &&
           (session->n_pending() == 1) == decoding;
  };
  auto n_waiting = std::count_if(sessions_.begin(), sessions_.end(), waits);
  for (int i = 0; i < n_slots && left > 0; ++i) {
    const int slot = (next_slot_ + i) % n_slots;
    Session* const session = sessions_[static_cast<size_t>(slot)];
    if (!waits(session)) continue;
    const int start = session->n_tokens();
    const int interval = options_.resume_interval_tokens;
    const int share = (left + static_cast<int>(n_waiting) - 1) / static_cast<int>(n_waiting);
    const int n = std::min({session->n_pending(), share, interval - start % interval});
    const int32_t* const ids = session->sequence_.next_ids().data();
    segments_.push_back({&session->sequence_, static_cast<int>(batch_ids_.size()), n, start});
    segment_slots_.push_back(slot);
    batch_ids_.insert(batch_ids_.end(), ids, ids + n);
    left -= n;
    --n_waiting;
  }
  return left;
}

int Engine::step() {
  const int n = schedule();
  if (n == 0) return 0;
  const Batch batch = {.ids = batch_ids_, .segments = segments_, .probe = probe_};
  if (probe_ != nullptr) probe_->begin(batch);
  runner_->forward(batch);
  postprocess();
  return n;
}

// In the store not each of them.
void Engine::keep_interval_point(Session& session) {
  session.sequence_.save_resume_point();
  const bool is_stored =
      session.n_tokens() % options_.store_interval_tokens < options_.resume_interval_tokens;
  if (is_stored && persistence_ && options_.resume_points > 0) {
    persistence_->put_point(session.sequence_);
  }
}

void Engine::postprocess() {
  const auto vocab = static_cast<size_t>(model_->vocab_size());
  for (size_t i = 0; i < segments_.size(); ++i) {
    const Segment& segment = segments_[i];
    Session& session = *sessions_[static_cast<size_t>(segment_slots_[i])];
    session.sequence_.commit({batch_ids_.data() + segment.first, static_cast<size_t>(segment.n)});
    session.n_pending_ -= segment.n;
    if (persistence_) persistence_->put_blocks(session.sequence_, segment.start);
    if (session.n_tokens() % options_.resume_interval_tokens == 0) keep_interval_point(session);
    session.has_logits_ = session.n_pending() == 0;
    if (!session.has_logits_) continue;
    logit_rows_.push_back(segment.first + segment.n - 1);
  }
  if (logit_rows_.empty()) return;
  runner_->logits(logit_rows_, step_logits_);
  size_t row = 0;
  for (const int slot : segment_slots_) {
    Session& session = *sessions_[static_cast<size_t>(slot)];
    if (session.n_pending() > 0) continue;
    std::copy_n(step_logits_ + row++ * vocab, vocab, session.logits_);
  }
}

}  // namespace varve

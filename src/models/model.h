// What the engine knows of a model family.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "attention/segment.h"
#include "base/arena.h"
#include "base/result.h"
#include "formats/checkpoint.h"
#include "kernels/exec.h"
#include "kvcache/layout.h"

namespace varve {

struct Batch;

/// Looks on while a forward pass runs. Costs nothing when absent.
class Probe {
 public:
  virtual ~Probe() = default;
  /// Before anything else of a batch; its segments are there until the pass is over.
  virtual void begin(const Batch& /*batch*/) {}
  /// Rows of one named intermediate of one layer, in batch order: [n_rows, row_width].
  virtual void floats(std::string_view name, int layer, const float* rows, int n_rows,
                      int row_width) = 0;
  virtual void ints(std::string_view name, int layer, const int32_t* rows, int n_rows,
                    int row_width) = 0;
};

struct Batch {
  std::span<const int32_t> ids;       // one per row
  std::span<const Segment> segments;  // cover the rows in order
  Probe* probe = nullptr;
};

/// Where the time of a step goes, by what it is spent on.
enum class Part {
  embed,
  linears,
  compress,
  index,
  attention,
  experts,
  mlp,
  hyper_connections,
  head
};
inline constexpr int kNumParts = 9;
std::string_view part_name(Part part);

struct PartTimes {
  double seconds[kNumParts] = {};
  double& operator[](Part part) { return seconds[static_cast<int>(part)]; }
};

/// Adds the time until it is destroyed to one part's account.
class PartTimer {
 public:
  PartTimer(PartTimes& times, Part part) : seconds_(times[part]) {}
  ~PartTimer() {
    seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count();
  }
  PartTimer(const PartTimer&) = delete;
  PartTimer& operator=(const PartTimer&) = delete;

 private:
  double& seconds_;
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

/// What one part of reading tokens moves and multiplies, per token: the arithmetic of its roof.
struct PartCost {
  enum class Unit {
    products,  // as EngineOptions::products says
    f32,       // f32 whatever the products are: rows that no dot instruction takes
    int8,      // integer dots
  };

  std::string_view part;
  double bytes = 0;
  double macs = 0;
  Unit unit = Unit::products;
};

/// A model bound to memory: runs batches of up to a fixed number of tokens.
class Runner {
 public:
  virtual ~Runner() = default;
  /// Reads the batch's tokens; writes their rows into the sequences (not committed) and keeps one
  /// hidden state a row for logits().
  virtual void forward(const Batch& batch) = 0;
  /// logits [rows.size(), vocab_size] of the given rows of the last batch; at most
  /// kMaxLogitRows of them.
  virtual void logits(std::span<const int32_t> rows, float* out) = 0;
  /// logits [vocab_size] of the sequence's newest token, from the hidden state that it keeps: the
  /// same bits as when the token was read.
  virtual void logits_of_newest(const Sequence& sequence, float* out) = 0;

  PartTimes& times() { return times_; }

 protected:
  PartTimes times_;
};

inline constexpr int kMaxLogitRows = 64;

/// How a runner is to be bound.
struct RunnerOptions {
  int max_tokens = 0;   // of one batch
  int ctx_tokens = 0;   // of one sequence
  PoolFormats formats;  // of the cache that the sequences live in
};

struct ExpertCounts {
  int n = 0;  // routed ones of a layer; 0: none
  int n_used = 0;
};

/// What says how many bytes of weights there are: the files' headers, the index of files that are
/// not there, or the config alone.
enum class WeightSource { files, index, config };

/// Takes a matrix and the share of tokens that need it: 1, of a routed expert less.
using WeightVisitor = std::function<void(const Weight&, double share)>;

/// Weights and shape of a loaded model. Its values never change; any number of runners share it.
class Model {
 public:
  virtual ~Model() = default;
  virtual std::string_view family() const = 0;
  virtual int vocab_size() const = 0;
  virtual int max_position() const = 0;
  virtual int bos_id() const = 0;  // -1: none
  virtual std::span<const int> eos_ids() const = 0;
  virtual CacheShape cache_shape() const = 0;
  virtual ExpertCounts experts() const { return {}; }

  /// The files that the weights are views of.
  virtual const Checkpoint& checkpoint() const = 0;
  /// Bytes of the small tensors that are kept beside them as f32.
  virtual size_t vector_bytes() const = 0;
  /// Of weights and small tensors, what is in memory of this process: none of a model for plans.
  size_t loaded_bytes() const {
    return has_values() ? checkpoint().copied_bytes() + vector_bytes() : 0;
  }
  /// Reads the files into memory of this process, on large pages where the system has them: faster
  /// to read than mapped pages, but neither shared nor given back. While no runner runs; `progress`
  /// is told of bytes as they are read. After an error the model is of no use.
  virtual Result<void> copy_weights(const std::function<void(size_t)>& progress) = 0;
  virtual WeightSource weight_source() const = 0;
  /// Whether weights are what they are in files: of load_shapes() they are zeros.
  virtual bool has_values() const = 0;
  /// Bytes of the files; of their tensors, as an index has it; or of the matrices in the types that
  /// the config names.
  virtual size_t weight_bytes() const = 0;
  /// Bytes of weights that decoding one token reads, and multiply-adds that it does with them.
  virtual size_t decode_weight_bytes() const = 0;
  virtual size_t decode_weight_macs() const = 0;

  /// Visits every matrix but the embedding, of which a token reads one row; the head last.
  virtual void visit_weights(const WeightVisitor& visit) const = 0;

  /// The parts of reading `n_tokens` tokens after `depth` others in chunks of `chunk_tokens`, with
  /// logits of the last. Bytes are what a chunk has to read once: rows that some token of it sees,
  /// weights that some token of it needs (of experts, as many as are expected to be needed).
  virtual std::vector<PartCost> prefill_costs(const PoolFormats& formats, int depth, int n_tokens,
                                              int chunk_tokens) const = 0;
  /// The parts of decoding the token after `depth` others.
  std::vector<PartCost> decode_costs(const PoolFormats& formats, int depth) const {
    return prefill_costs(formats, depth, 1, 1);
  }

  /// Takes the runner's scratch from `arena`. Over a dry builder the runner must not be run.
  virtual std::unique_ptr<Runner> bind(ArenaBuilder& arena, Exec& exec,
                                       const RunnerOptions& options) const = 0;
};

/// Loads a model directory (config.json and safetensors files) or a GGUF file, of a split one the
/// first part. config.json's `model_type` or the file's `general.architecture` says which family it
/// is; the message about an unknown one lists those that run.
Result<std::unique_ptr<Model>> load_model(const std::string& path);

/// A model for plans, from as much as is there of what load_model() takes: files may end behind
/// their headers, shards may be missing beside their index, or all files but the config.json, which
/// may be `path` itself. Matrices have the types of the headers, else those that the config names
/// (StoredTypes). No value is read even where it is there: all are zeros. Run, it takes the time
/// that arithmetic on rows takes, and its logits mean nothing.
Result<std::unique_ptr<Model>> load_shapes(const std::string& path);

}  // namespace varve

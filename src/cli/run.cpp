// varve run: reads a prompt, continues it, says what it cost.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/memory.h"
#include "cli/engine_flags.h"
#include "cli/model_path.h"
#include "cli/progress.h"
#include "cli/prompt.h"
#include "cli/sampler_flags.h"
#include "cli/store_flags.h"
#include "cli/verbs.h"
#include "engine/generate.h"
#include "grammar/answer_constraint.h"
#include "tokenizer/tokenizer.h"

namespace varve::cli {
namespace {

using Clock = std::chrono::steady_clock;

struct RunFlags {
  EngineFlags engine;
  std::optional<std::string> prompt;
  std::string file;
  int n_tokens = 128;
  std::string bos = "auto";
  SamplerFlags sampler;
  StoreFlags store;
  std::vector<int32_t> stop_ids;
  bool ignore_eos = false;
  std::string json_schema;
  bool json = false;
  bool stats = false;
};

// Set by Ctrl-C: the run ends after the step under way, with its closing line.
volatile std::sig_atomic_t interrupted = 0;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

double rate(int n, double seconds) {
  return seconds > 0 ? n / seconds : 0;
}

Result<std::string> prompt_text(const RunFlags& flags) {
  if (flags.prompt && !flags.file.empty()) {
    return usage_error("both --prompt and --file were given; one is expected");
  }
  if (flags.prompt) return *flags.prompt;
  if (!flags.file.empty()) return read_text(flags.file);
  if (isatty(STDIN_FILENO) == 1) {
    return usage_error("no prompt: give --prompt TEXT, --file FILE, or text on standard input");
  }
  return read_text("-");
}

struct Outcome {
  std::string weights;  // "mapped" or "copied"
  ProcessBytes process;
  int prompt_tokens = 0;
  int reused_tokens = 0;  // of them, that the store had
  double prompt_seconds = 0;
  double decode_seconds = 0;
  GenerateResult generated;
  std::vector<int32_t> ids;
  std::string text;
};

size_t planned_bytes(const Engine& engine, const Outcome& outcome) {
  return engine.memory().total_bytes() + outcome.process.total();
}

std::string_view reason_name(StopReason reason) {
  switch (reason) {
    case StopReason::length:
      return "length";
    case StopReason::end_token:
      return "end_token";
    case StopReason::cancelled:
      break;
  }
  return "cancelled";
}

void print_json(const Engine& engine, const Outcome& outcome) {
  nlohmann::ordered_json parts;
  for (int p = 0; p < kNumParts; ++p) {
    parts[std::string(part_name(static_cast<Part>(p)))] =
        const_cast<Engine&>(engine).times().seconds[p];
  }
  nlohmann::ordered_json out = {
      {"schema", "varve.run/1"},
      {"text", outcome.text},
      {"ids", outcome.ids},
      {"stop_reason", reason_name(outcome.generated.reason)},
      {"prompt_tokens", outcome.prompt_tokens},
      {"reused_tokens", outcome.reused_tokens},
      {"prompt_seconds", outcome.prompt_seconds},
      {"generated_tokens", outcome.generated.n_tokens},
      {"decode_seconds", outcome.decode_seconds},
      {"ctx_tokens", engine.options().ctx_tokens},
      {"chunk_tokens", engine.memory().chunk_tokens},
      {"threads", engine.n_threads()},
      {"kernels", engine.kernels().name},
      {"attention",
       describe_attention(engine.kernels(), engine.cache().layout(), engine.options().products)},
      {"cache_bytes_per_token", engine.cache().layout().bytes_per_token()},
      {"cache_bytes", engine.memory().cache_bytes()},
      {"arena_bytes", engine.memory().arena_bytes},
      {"weights", outcome.weights},
      {"weight_bytes", engine.memory().weight_bytes},
      {"vector_bytes", engine.memory().vector_bytes},
      {"process_bytes", outcome.process.total()},
      {"planned_bytes", planned_bytes(engine, outcome)},
      {"peak_rss_bytes", peak_resident_bytes()},
      {"part_seconds", parts},
  };
  // Sampled text need not be valid UTF-8 where a token was cut; JSON must be.
  fmt::print("{}\n", out.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
}

void print_closing_lines(Engine& engine, const Outcome& outcome, bool stats) {
  const int n_decoded = std::max(0, outcome.generated.n_tokens - 1);
  const int n_read = outcome.prompt_tokens - outcome.reused_tokens;
  if (outcome.reused_tokens > 0) {
    fmt::print(stderr, "{} of {} prompt tokens from the store\n", outcome.reused_tokens,
               outcome.prompt_tokens);
  }
  fmt::print(stderr, "{} prompt tokens at {:.1f}/s, {} new at {:.1f}/s ({})\n", n_read,
             rate(n_read, outcome.prompt_seconds), outcome.generated.n_tokens,
             rate(n_decoded, outcome.decode_seconds), reason_name(outcome.generated.reason));
  fmt::print(stderr, "cache {} for {} tokens ({:.2f} B/token, {}), arena {}, weights {} {}\n",
             human_bytes(static_cast<double>(engine.memory().cache_bytes())),
             engine.options().ctx_tokens, engine.cache().layout().bytes_per_token(),
             describe_formats(engine.cache().layout()),
             human_bytes(static_cast<double>(engine.memory().arena_bytes)),
             human_bytes(static_cast<double>(engine.memory().weight_bytes)), outcome.weights);
  fmt::print(
      stderr, "{}, {}\ntime: {}\n", engine.kernels().name,
      describe_attention(engine.kernels(), engine.cache().layout(), engine.options().products),
      time_shares(engine.times()));
  if (!stats) return;
  fmt::print(stderr, "kernels: {} ({}), {} threads, products {}, chunk {}\n", engine.kernels().name,
             engine.kernels().description, engine.n_threads(),
             products_name(engine.options().products), engine.memory().chunk_tokens);
  for (const ArenaPart& part : engine.memory().parts) {
    fmt::print(stderr, "  {:<28} {:>12}\n", part.name,
               human_bytes(static_cast<double>(part.bytes)));
  }
  const auto line = [](std::string_view label, size_t bytes) {
    fmt::print(stderr, "  {:<28} {:>12}\n", label, human_bytes(static_cast<double>(bytes)));
  };
  line("weights", engine.memory().weight_bytes + engine.memory().vector_bytes);
  line("process, tokenizer", outcome.process.total());
  line("planned", planned_bytes(engine, outcome));
  line("peak resident set", peak_resident_bytes());
}

// What --json-schema names: a file, or the schema itself.
Result<std::string> schema_text(const std::string& flag) {
  const size_t first = flag.find_first_not_of(" \t\r\n");
  if (first != flag.npos && (flag[first] == '{' || flag == "true" || flag == "false")) return flag;
  return read_text(flag);
}

// Draws tokens that spell JSON of a schema.
class SchemaDraw {
 public:
  static Result<SchemaDraw> create(const RunFlags& flags, const Tokenizer& tokenizer,
                                   const Model& model) {
    VARVE_TRY(const std::string schema, schema_text(flags.json_schema));
    VARVE_TRY(const auto compiler, GrammarCompiler::create(tokenizer, model.vocab_size(), {}));
    const auto grammar = compiler->compile_json_schema(schema);
    if (!grammar) {
      return fail(grammar.error().kind, "--json-schema: {}", grammar.error().message);
    }
    AnswerConstraintOptions options = {.vocab_size = model.vocab_size(), .end_ids = flags.stop_ids};
    options.end_ids.insert(options.end_ids.end(), model.eos_ids().begin(), model.eos_ids().end());
    VARVE_TRY(AnswerConstraint constraint, AnswerConstraint::create(*grammar, std::move(options)));
    return SchemaDraw(std::move(constraint));
  }

  Result<std::optional<int32_t>> draw(Sampler& sampler, std::span<const float> logits) {
    return constraint_.next(
        [&](std::span<const uint32_t> allowed) { return sampler.sample(logits, allowed); });
  }

 private:
  explicit SchemaDraw(AnswerConstraint constraint) : constraint_(std::move(constraint)) {}

  AnswerConstraint constraint_;
};

Result<void> run(const RunFlags& flags) {
  if (flags.n_tokens < 0) return usage_error("-n {}: expected 0 or more tokens", flags.n_tokens);
  VARVE_TRY(EngineOptions options, flags.engine.options());
  VARVE_TRY(const SamplerOptions sampling, flags.sampler.options());
  VARVE_TRY(const std::string path, model_or_bundled(flags.engine.model));
  VARVE_TRY(const std::string text, prompt_text(flags));
  VARVE_TRY(std::unique_ptr<Model> shapes, flags.engine.open_shapes(path));
  VARVE_TRY(const Tokenizer tokenizer, load_tokenizer(path, *shapes));
  VARVE_TRY(const std::vector<int32_t> prompt, encode_prompt(tokenizer, *shapes, text, flags.bos));
  if (prompt.empty()) return usage_error("the prompt is empty");

  if (options.ctx_tokens == 0) {
    options.ctx_tokens =
        static_cast<int>(std::min<size_t>(prompt.size() + static_cast<size_t>(flags.n_tokens),
                                          static_cast<size_t>(shapes->max_position())));
  }
  if (prompt.size() > static_cast<size_t>(options.ctx_tokens)) {
    return usage_error("the prompt has {} tokens; the context holds {} (--ctx)", prompt.size(),
                       options.ctx_tokens);
  }
  // Nothing is rewound; a store gets the end of the prompt and that of the text.
  options.resume_points = flags.store.directory.empty() ? 0 : 2;
  VARVE_CHECKED(flags.store.apply(*shapes, options));
  EngineFlags engine_flags = flags.engine;
  VARVE_TRY(engine_flags.beside_bytes, flags.store.memory_bytes(*shapes, options));
  VARVE_TRY(Sampler sampler, Sampler::create(sampling, shapes->vocab_size()));
  std::optional<SchemaDraw> schema;
  if (!flags.json_schema.empty()) {
    if (flags.ignore_eos) return usage_error("--json-schema: expected no --ignore-eos beside it");
    if (flags.n_tokens > AnswerConstraint::kMaxTokens) {
      return usage_error("-n {}: expected at most {} beside --json-schema", flags.n_tokens,
                         AnswerConstraint::kMaxTokens);
    }
    engine_flags.beside_bytes +=
        GrammarCompiler::memory_bytes(shapes->vocab_size()) +
        static_cast<size_t>(flags.n_tokens) * AnswerConstraint::kBytesPerToken;
  }
  VARVE_TRY(options,
            engine_flags.fit(*shapes, options, &tokenizer, static_cast<int>(prompt.size())));
  if (!flags.json_schema.empty()) {
    VARVE_TRY(schema, SchemaDraw::create(flags, tokenizer, *shapes));
  }
  Outcome outcome;
  outcome.process = process_beside(*shapes, options, &tokenizer);
  outcome.process.heap += engine_flags.beside_bytes;
  VARVE_TRY(const std::shared_ptr<Model> model, load_in_place_of(std::move(shapes), path));
  VARVE_TRY(const std::unique_ptr<Store> store, flags.store.open(*model, path, options));
  VARVE_TRY(const std::unique_ptr<Engine> engine, Engine::create(model, options));
  if (store) engine->set_store(*store);
  VARVE_TRY(outcome.weights, flags.engine.place_weights(*model, engine->memory().arena_bytes));

  std::signal(SIGINT, [](int) { interrupted = 1; });
  auto begin = Clock::now();
  VARVE_TRY(Session session, engine->new_session(prompt));
  outcome.reused_tokens = session.n_reused();
  {
    Progress progress("prefill", static_cast<double>(prompt.size()), "tokens");
    while (session.n_pending() > 0 && interrupted == 0) {
      engine->step();
      progress.update(session.n_tokens());
    }
  }
  outcome.prompt_tokens = session.n_tokens();
  outcome.prompt_seconds = seconds_since(begin);

  StreamDecoder decoder(tokenizer);
  const auto emit = [&](const std::string& piece) {
    outcome.text += piece;
    if (flags.json) return;
    std::fwrite(piece.data(), 1, piece.size(), stdout);
    std::fflush(stdout);
  };
  outcome.generated.reason = StopReason::cancelled;
  if (session.n_pending() == 0) {
    session.save_resume_point();
    begin = Clock::now();
    GenerateOptions generation = {
        .max_tokens = flags.n_tokens, .stop_ids = flags.stop_ids, .ignore_eos = flags.ignore_eos};
    if (schema) {
      generation.draw = [&](std::span<const float> logits) {
        return schema->draw(sampler, logits);
      };
    }
    VARVE_TRY(outcome.generated, generate(session, *engine, sampler, generation, [&](int32_t id) {
                outcome.ids.push_back(id);
                emit(decoder.push(id));
                return interrupted == 0;
              }));
    emit(decoder.finish());
    outcome.decode_seconds = seconds_since(begin);
  }
  if (flags.json) {
    print_json(*engine, outcome);
  } else {
    fmt::print("\n");
    std::fflush(stdout);
    print_closing_lines(*engine, outcome, flags.stats);
  }
  return {};
}

}  // namespace

void add_run(CLI::App& app, Action& action) {
  CLI::App* const verb = app.add_subcommand("run", "Continue a prompt");
  const auto flags = std::make_shared<RunFlags>();
  flags->engine.add_to(*verb);
  verb->add_option("-p,--prompt", flags->prompt, "Text to continue");
  verb->add_option("-f,--file", flags->file, "File with the text to continue; '-' is stdin");
  verb->add_option("-n", flags->n_tokens, "New tokens at most")->capture_default_str();
  verb->add_option("--bos", flags->bos, "'auto' puts the model's BOS in front, 'no' does not")
      ->capture_default_str();
  flags->sampler.add_to(*verb);
  flags->store.add_to(*verb);
  verb->add_option("--stop-id", flags->stop_ids, "Token id that ends the text, besides EOS");
  verb->add_flag("--ignore-eos", flags->ignore_eos, "Go on past the model's end token");
  verb->add_option("--json-schema", flags->json_schema,
                   "File with a JSON schema, or the schema: the text is JSON that fits it");
  verb->add_flag("--json", flags->json, "Print one JSON object instead of the text");
  verb->add_flag("--stats", flags->stats, "Also print kernels, threads and memory by part");
  verb->footer(
      "Examples:\n"
      "  varve run -p 'In the beginning' --temp 0 -n 40\n"
      "  varve run MODEL --file notes.txt -n 200 --top-p 0.9\n"
      "  git diff | varve run MODEL -n 100 --json");
  verb->callback([flags, &action] { action = [flags] { return run(*flags); }; });
}

}  // namespace varve::cli

// varve chat: a conversation in the terminal.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <memory>
#include <optional>

#include "chat/chat_format.h"
#include "cli/chat_model.h"
#include "cli/conversation.h"
#include "cli/engine_flags.h"
#include "cli/interrupts.h"
#include "cli/line_reader.h"
#include "cli/model_path.h"
#include "cli/output_file.h"
#include "cli/prompt.h"
#include "cli/sampler_flags.h"
#include "cli/store_flags.h"
#include "cli/transcript_file.h"
#include "cli/verbs.h"
#include "tokenizer/utf8.h"

namespace varve::cli {
namespace {

// Of a conversation whose length nobody knows yet.
constexpr int kDefaultContext = 4096;

// Kept in a session: the beginning and the end of recent turns.
constexpr int kResumePoints = 8;

struct ChatFlags {
  EngineFlags engine;
  SamplerFlags sampler;
  StoreFlags store;
  std::string transcript;
  std::optional<std::string> system;
  std::string chat_template;
  std::string think;
  std::string render;
  int n_tokens = 0;
  int n_branches = 2;
};

Result<std::unique_ptr<ChatFormat>> chat_format(const std::string& path, const ChatFlags& flags) {
  VARVE_TRY(auto format, format_of_model(path, flags.chat_template));
  if (format == nullptr) {
    return usage_error(
        "{} has no chat template: it is a model that continues text (`varve run`); "
        "--chat-template FILE gives it one",
        path);
  }
  return format;
}

Result<void> render(const ChatFlags& flags, const std::string& path) {
  VARVE_TRY(const auto format, chat_format(path, flags));
  VARVE_TRY(const std::string json, read_text(flags.render));
  VARVE_TRY(ChatRequest request, parse_chat_request(json, flags.render));
  VARVE_TRY(const auto variables, think_variables(flags.think));
  request.variables.insert(request.variables.end(), variables.begin(), variables.end());
  VARVE_TRY(const std::string text, format->render(request));
  std::fwrite(text.data(), 1, text.size(), stdout);
  return {};
}

// ---- commands

constexpr std::string_view kHelp =
    "/rewind [N]    forget the last turn, or the last N\n"
    "/fork NAME     go on in a copy of this conversation\n"
    "/switch NAME   go to another branch; the first is `main`\n"
    "/system TEXT   set the system message; without TEXT: none\n"
    "/clear         forget all turns\n"
    "/stats         tokens and time of the last turn\n"
    "/quit          leave, as Ctrl-D does; Ctrl-C stops an answer\n"
    "A line that ends with \\ goes on in the next one.\n";

void print_stats(const Conversation& chat, const Engine& engine) {
  const TurnReport& last = chat.last();
  const auto rate = [](int n, double seconds) { return seconds > 0 ? n / seconds : 0; };
  fmt::print("branch {}: {} turns, {} of {} tokens of context\n", chat.name(), chat.n_turns(),
             chat.n_tokens(), engine.options().ctx_tokens);
  fmt::print("last turn: {} tokens read at {:.1f}/s, {} kept; {} new at {:.1f}/s\n",
             last.read_tokens, rate(last.read_tokens, last.read_seconds), last.kept_tokens,
             last.new_tokens, rate(std::max(0, last.new_tokens - 1), last.decode_seconds));
  fmt::print("cache {}, {}\n", human_bytes(static_cast<double>(engine.memory().cache_bytes())),
             describe_formats(engine.cache().layout()));
  std::string names;
  for (const std::string& name : chat.names()) names += (names.empty() ? "" : ", ") + name;
  fmt::print("branches: {}\n", names);
  if (!chat.has_store()) return;
  fmt::print("store: {} tokens of the last turn from it, {} in all\n", last.stored_tokens,
             engine.reuse().stored_tokens);
}

Result<void> rewind(Conversation& chat, const std::string& argument) {
  int n = 1;
  const char* const end = argument.data() + argument.size();
  const auto [stop, error] = std::from_chars(argument.data(), end, n);
  if (!argument.empty() && (error != std::errc() || stop != end)) {
    return usage_error("/rewind {}: expected a number of turns", argument);
  }
  VARVE_CHECKED(chat.rewind(argument.empty() ? 1 : n));
  fmt::print("{} turns left\n", chat.n_turns());
  return {};
}

// Runs "/word argument". False in `goes_on` ends the program.
Result<void> run_command(const std::string& line, Conversation& chat, const Engine& engine,
                         bool& goes_on) {
  const size_t space = std::min(line.find(' '), line.size());
  const std::string word = line.substr(0, space);
  const std::string argument = line.substr(std::min(space + 1, line.size()));
  if (word == "/quit" || word == "/exit") {
    goes_on = false;
  } else if (word == "/help") {
    fmt::print("{}", kHelp);
  } else if (word == "/stats") {
    print_stats(chat, engine);
  } else if (word == "/clear") {
    chat.clear();
  } else if (word == "/system") {
    chat.set_system(argument);
  } else if (word == "/rewind") {
    return rewind(chat, argument);
  } else if (word == "/fork") {
    return chat.fork(argument);
  } else if (word == "/switch") {
    return chat.switch_to(argument);
  } else {
    return usage_error("there is no command {}; /help lists them", word);
  }
  return {};
}

// ---- the loop

// A message: a line, and those after it while they end with a backslash. False: no more.
bool read_message(LineReader& reader, std::string_view prompt, std::string& message) {
  message.clear();
  while (true) {
    if (isatty(STDIN_FILENO) == 1) fmt::print("{}", message.empty() ? prompt : ". ");
    std::fflush(stdout);
    std::string line;
    if (reader.next(line) != LineReader::End::line) return !message.empty();
    message += line;
    if (!message.ends_with('\\')) return true;
    message.back() = '\n';
  }
}

std::string well_formed(std::string_view bytes) {
  std::string held;
  std::string text;
  append_lossy(bytes, held, text);
  finish_lossy(held, text);
  return text;
}

void print_piece(std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

Result<void> take_turn(const std::string& message, Conversation& chat, Sampler& sampler) {
  const TurnHooks hooks = {was_interrupted, print_piece};
  VARVE_TRY(const TurnReport report, chat.turn(well_formed(message), sampler, hooks));
  fmt::print("\n");
  if (report.reason == StopReason::cancelled) fmt::print(stderr, "varve: stopped\n");
  if (report.reason == StopReason::length) {
    fmt::print(stderr, "varve: the answer was cut at {} tokens (-n, --ctx)\n", report.new_tokens);
  }
  return {};
}

// Ctrl-C ends an answer that is under way; at the prompt it ends the program.
// Whoever sits at a terminal hears of what failed and goes on, the conversation being as it was; a
// script ends with it.
Result<void> converse(Conversation& chat, const Engine& engine, Sampler& sampler,
                      const std::string& transcript) {
  const bool is_terminal = isatty(STDIN_FILENO) == 1;
  LineReader reader;
  std::string message;
  bool goes_on = true;
  while (goes_on) {
    forget_interrupts();
    const std::string prompt = chat.name() == "main" ? "> " : chat.name() + "> ";
    if (!read_message(reader, prompt, message)) break;
    if (message.empty()) continue;
    Result<void> done = message.starts_with('/') ? run_command(message, chat, engine, goes_on)
                                                 : take_turn(message, chat, sampler);
    if (done && !transcript.empty()) done = write_transcript(transcript, chat.saved());
    if (done) continue;
    if (!is_terminal || done.error().kind == ErrorKind::internal) return done;
    fmt::print(stderr, "varve: {}\n", done.error().message);
  }
  if (is_terminal) fmt::print("\n");
  return {};
}

Result<void> chat(const ChatFlags& flags) {
  VARVE_TRY(const std::string path, model_or_bundled(flags.engine.model));
  if (!flags.render.empty()) return render(flags, path);
  if (flags.n_tokens < 0) return usage_error("-n {}: expected 0 or more tokens", flags.n_tokens);
  VARVE_TRY(EngineOptions options, flags.engine.options());
  VARVE_TRY(const SamplerOptions sampling, flags.sampler.options());
  VARVE_TRY(auto variables, think_variables(flags.think));
  VARVE_TRY(const auto format, chat_format(path, flags));
  VARVE_TRY(std::unique_ptr<Model> shapes, flags.engine.open_shapes(path));
  VARVE_TRY(const Tokenizer tokenizer, load_tokenizer(path, *shapes));
  if (options.ctx_tokens == 0) {
    options.ctx_tokens = std::min(kDefaultContext, shapes->max_position());
  }
  options.n_sessions = flags.n_branches;
  options.resume_points = kResumePoints;
  VARVE_CHECKED(flags.store.apply(*shapes, options));
  EngineFlags engine_flags = flags.engine;
  VARVE_TRY(engine_flags.beside_bytes, flags.store.memory_bytes(*shapes, options));
  VARVE_CHECKED(check_writable("--transcript", flags.transcript));
  SavedConversation saved{{}, {}, Transcript(tokenizer)};
  if (!flags.transcript.empty()) {
    VARVE_TRY(saved, read_transcript(flags.transcript, tokenizer));
  }
  VARVE_TRY(Sampler sampler, Sampler::create(sampling, shapes->vocab_size()));
  VARVE_TRY(options, engine_flags.fit(*shapes, options, &tokenizer, 1));
  VARVE_TRY(const std::shared_ptr<Model> model, load_in_place_of(std::move(shapes), path));
  VARVE_TRY(const std::unique_ptr<Store> store, flags.store.open(*model, path, options));
  VARVE_TRY(const std::unique_ptr<Engine> engine, Engine::create(model, options));
  if (store) engine->set_store(*store);
  VARVE_TRY(const std::string placed,
            flags.engine.place_weights(*model, engine->memory().arena_bytes));
  Conversation::Setup setup = {.engine = engine.get(),
                               .tokenizer = &tokenizer,
                               .format = format.get(),
                               .variables = std::move(variables),
                               .stop_ids = {},
                               .max_tokens = flags.n_tokens,
                               .system = {},
                               .has_store = store != nullptr};
  if (const auto id = end_of_turn_id(*format, tokenizer)) setup.stop_ids.push_back(*id);
  VARVE_TRY(Conversation conversation, Conversation::create(std::move(setup)));
  conversation.resume(std::move(saved));
  if (flags.system) conversation.set_system(well_formed(*flags.system));
  fmt::print(stderr, "varve: {}, {} tokens of context, weights {}; /help lists commands\n",
             format->describe(), options.ctx_tokens, placed);
  if (conversation.n_turns() > 0) {
    fmt::print(stderr, "varve: {}: it goes on behind {} {}\n", flags.transcript,
               conversation.n_turns(), conversation.n_turns() == 1 ? "turn" : "turns");
  }
  VARVE_CHECKED(catch_interrupts());
  return converse(conversation, *engine, sampler, flags.transcript);
}

}  // namespace

void add_chat(CLI::App& app, Action& action) {
  CLI::App* const verb = app.add_subcommand("chat", "Talk to a model");
  const auto flags = std::make_shared<ChatFlags>();
  flags->engine.add_to(*verb);
  verb->add_option("-n", flags->n_tokens, "New tokens of an answer at most; 0: what fits");
  verb->add_option("--system", flags->system, "System message");
  verb->add_option("--chat-template", flags->chat_template,
                   "File with a Jinja template, in place of the model's own");
  verb->add_option("--think", flags->think,
                   "'yes' or 'no': asks a model that can for reasoning first; default:\n"
                   "as its template has it (DeepSeek-V4: no)");
  verb->add_option("--branches", flags->n_branches, "Branches to make room for")
      ->capture_default_str();
  flags->sampler.add_to(*verb);
  flags->store.add_to(*verb);
  verb->add_option("--transcript", flags->transcript,
                   "File that keeps the conversation after each turn, of the branch that is\n"
                   "talked in; where it is there already, the conversation goes on with it");
  verb->add_option("--render", flags->render,
                   "Only print the prompt text of the JSON messages in this file; '-' is\n"
                   "stdin. An array, or an object with messages, tools,\n"
                   "add_generation_prompt and variables of the template");
  verb->footer(
      "Lines are messages; /help in the conversation lists commands. Where they come from\n"
      "a file or a pipe, the first one that fails ends it, with the exit code of its error.\n"
      "Examples:\n"
      "  varve chat MODEL --temp 0.7 --system 'Answer briefly.'\n"
      "  echo 'Name three rivers.' | varve chat MODEL\n"
      "  varve chat MODEL --transcript talk.json --store ~/.cache/varve\n"
      "  varve chat MODEL --render messages.json");
  verb->callback([flags, &action] { action = [flags] { return chat(*flags); }; });
}

}  // namespace varve::cli

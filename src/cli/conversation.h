// A conversation over sessions: turns, going back, branches. Each branch is one Session; a turn
// reads only what its session has not read yet.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "chat/chat_format.h"
#include "chat/transcript.h"
#include "engine/engine.h"
#include "engine/generate.h"
#include "engine/sampler.h"

namespace varve::cli {

/// What the last turn of a branch did.
struct TurnReport {
  int kept_tokens = 0;    // of the context, that were in the session or the cache before
  int stored_tokens = 0;  // of them, whose blocks came from the store
  int read_tokens = 0;
  double read_seconds = 0;
  int new_tokens = 0;
  double decode_seconds = 0;
  StopReason reason = StopReason::cancelled;
};

/// What a later run needs to go on with a conversation.
struct SavedConversation {
  std::string system;
  std::vector<jinja::Value> messages;  // a question and its answer for each turn
  Transcript transcript;
};

/// How a turn runs. Both are asked between steps.
struct TurnHooks {
  std::function<bool()> is_cancelled;
  std::function<void(std::string_view)> on_text;  // pieces of the answer
};

class Conversation {
 public:
  struct Setup {
    Engine* engine;
    const Tokenizer* tokenizer;
    const ChatFormat* format;
    std::vector<std::pair<std::string, jinja::Value>> variables;  // of the format
    std::vector<int32_t> stop_ids;                                // besides the model's EOS
    int max_tokens = 0;  // of an answer; 0: what the context has left
    std::string system;  // empty: none
    // A prompt that begins anew, or nearly so, is looked for in the engine's store.
    bool has_store = false;
  };
  /// Error: as of Engine::new_session.
  static Result<Conversation> create(Setup setup);

  /// Reads the user's text and answers it. A turn that is cancelled while it reads never was; one
  /// that is cancelled in its answer ends there. Errors leave the conversation as it was: the
  /// format refuses it, the context is full.
  Result<TurnReport> turn(const std::string& text, Sampler& sampler, const TurnHooks& hooks);

  /// Forgets the last n turns. Error (usage): there are fewer.
  Result<void> rewind(int n);
  /// Goes on under a new name; what was said so far belongs to both. Errors (usage): the name is
  /// taken, no session is left.
  Result<void> fork(const std::string& name);
  /// Error (usage): no branch of that name.
  Result<void> switch_to(const std::string& name);
  void clear();
  void set_system(const std::string& text);

  /// The present branch.
  SavedConversation saved() const {
    return {branch().system, branch().messages, branch().transcript};
  }
  /// Goes on with `saved` in its place. The session follows at the next turn.
  void resume(SavedConversation saved);

  int n_turns() const { return static_cast<int>(branch().messages.size() / 2); }
  int n_tokens() const { return static_cast<int>(branch().transcript.ids().size()); }
  bool has_store() const { return setup_.has_store; }
  const TurnReport& last() const { return branch().last; }
  const std::string& name() const { return current_; }
  std::vector<std::string> names() const;

 private:
  struct Branch {
    Session session;
    Transcript transcript;
    std::string system;
    std::vector<jinja::Value> messages;  // a question and its answer for each turn
    TurnReport last = {};
  };

  explicit Conversation(Setup setup) : setup_(std::move(setup)) {}
  Branch& branch() { return branches_.at(current_); }
  const Branch& branch() const { return branches_.at(current_); }
  /// Of what a person wrote: special tokens that are spelt in it are text like any other.
  jinja::Value message_of(std::string_view role, std::string_view written) const;
  ChatRequest request(const std::string& question) const;
  /// A session of the branch for `ids`, with what the cache and the store know of them.
  Result<void> begin_anew(const std::vector<int32_t>& ids, TurnReport& report);
  /// Brings the session to `ids`. False: cancelled.
  Result<bool> read(const std::vector<int32_t>& ids, const TurnHooks& hooks, TurnReport& report);
  Result<std::vector<int32_t>> answer(Sampler& sampler, const TurnHooks& hooks, TurnReport& report,
                                      std::string& text);

  Setup setup_;
  std::map<std::string, Branch> branches_;
  std::string current_ = "main";
};

}  // namespace varve::cli

#include "tokenizer/tokenizer_json.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "tokenizer/quote.h"
#include "tokenizer/tokenizer_fields.h"

namespace varve {
namespace {

using nlohmann::json;

constexpr size_t kMaxJsonBytes = size_t{1} << 30;
constexpr size_t kMaxPieces = size_t{1} << 24;
// Of a part that is read as a tree; real files need 6 and some thousands.
constexpr size_t kMaxTreeDepth = 32;
constexpr size_t kMaxTreeValues = size_t{1} << 20;

// One JSON value that is put together event by event.
class Tree {
 public:
  void clear() {
    open_.clear();
    root_ = json();
  }

  /// Adds a value, and goes into it if it is an array or object. Returns false if the tree gets
  /// too deep or too large.
  bool add(json value) {
    if (++n_values_ > kMaxTreeValues || open_.size() > kMaxTreeDepth) return false;
    const bool enters = value.is_structured();
    json* at = &root_;
    if (open_.empty()) {
      root_ = std::move(value);
    } else if (open_.back()->is_array()) {
      open_.back()->push_back(std::move(value));
      at = &open_.back()->back();
    } else {
      at = &(*open_.back())[key_];
      *at = std::move(value);
    }
    if (enters) open_.push_back(at);
    return true;
  }
  void key(std::string& name) { key_ = std::move(name); }
  void leave() { open_.pop_back(); }

  bool complete() const { return open_.empty(); }
  const json& root() const { return root_; }

 private:
  json root_;
  std::vector<json*> open_;  // the arrays and objects that the next value is inside of
  std::string key_;
  size_t n_values_ = 0;  // of all trees together
};

// Takes the events of nlohmann's parser. `where_` is what the next event belongs to.
class Reader {
 public:
  explicit Reader(const std::string& name) : name_(name), merges_field_(name + ": model.merges") {
    file_.vocabulary_field = "model.vocab";
  }

  Result<TokenizerFile> read(std::string_view text);

  // The interface that json::sax_parse() asks for: each returns false to stop.
  bool null() { return scalar(json()); }
  bool boolean(bool value) { return scalar(json(value)); }
  bool number_integer(int64_t value) { return scalar(json(value)); }
  bool number_unsigned(uint64_t value) {
    if (where_ != Where::vocab) return scalar(json(value));
    if (value > static_cast<uint64_t>(kMaxId)) return scalar(json(value));
    if (file_.vocabulary.n_pieces() == kMaxPieces) return stop("model.vocab: too many pieces");
    file_.vocabulary.add(piece_, static_cast<int32_t>(value));
    return true;
  }
  bool number_float(double value, const std::string& /*digits*/) { return scalar(json(value)); }
  bool string(std::string& value);
  bool binary(json::binary_t& /*value*/) { return false; }
  bool start_object(size_t /*n*/) { return start(json::object()); }
  bool start_array(size_t /*n*/) { return start(json::array()); }
  bool key(std::string& name);
  bool end_object() { return end(); }
  bool end_array() { return end(); }
  bool parse_error(size_t position, const std::string& last, const json::exception& reason);

 private:
  enum class Where {
    outside,       // before and after the one object that the file is
    file,          // in that object
    skipped,       // in, or before, a value that is not looked at
    tree,          // in, or before, a value that is made a tree
    added_tokens,  // in the array; its elements are trees
    model,
    vocab,
    merges,
    merge,  // in one ["a", "b"]
  };

  bool scalar(json value);
  bool start(json empty);
  bool end();
  bool add_to_tree(json value);
  bool tree_complete();
  bool begin_tree(Where afterwards, std::string field);
  bool begin_skipped(Where afterwards);
  bool add_merge();
  bool expect_once(const std::string& name);
  Result<TokenizerFile> finish();
  Result<void> take_added();

  template <class... Args>
  bool stop(fmt::format_string<Args...> format, Args&&... args) {
    error_ = Error{ErrorKind::bad_input,
                   name_ + ": " + fmt::format(format, std::forward<Args>(args)...)};
    return false;
  }
  bool check(Result<void> result) {
    if (result) return true;
    error_ = std::move(result).error();
    return false;
  }

  std::string name_;
  std::string merges_field_;
  TokenizerFile file_;
  MergeTable merges_;
  bool ignore_merges_ = false;
  std::vector<AddedToken> added_;
  std::optional<Error> error_;

  Where where_ = Where::outside;
  Where afterwards_ = Where::outside;  // when the skipped value or the tree is complete
  size_t skipped_depth_ = 0;
  Tree tree_;
  std::string tree_field_;         // path of the field that tree_ holds
  std::vector<std::string> seen_;  // paths of fields that were there
  std::string piece_;              // key of the vocab entry whose id comes next
  std::vector<std::string> pair_;  // of the merge that is being read
  bool vocab_done_ = false;
  bool merges_done_ = false;
  bool merges_waiting_ = false;  // merges stood before vocab: they are read in a second pass
  bool second_pass_ = false;
  bool has_pretokenizer_ = false;
  bool has_decoder_ = false;
};

bool Reader::expect_once(const std::string& name) {
  if (std::find(seen_.begin(), seen_.end(), name) != seen_.end()) {
    return stop("expected the field {} once, found it twice", name);
  }
  seen_.push_back(name);
  return true;
}

bool Reader::begin_tree(Where afterwards, std::string field) {
  where_ = Where::tree;
  afterwards_ = afterwards;
  tree_field_ = std::move(field);
  tree_.clear();
  return true;
}

bool Reader::begin_skipped(Where afterwards) {
  where_ = Where::skipped;
  afterwards_ = afterwards;
  skipped_depth_ = 0;
  return true;
}

bool Reader::key(std::string& name) {
  if (where_ == Where::tree) {
    tree_.key(name);
  } else if (where_ == Where::vocab) {
    piece_.swap(name);
  } else if (where_ == Where::file) {
    if (second_pass_) {
      if (name != "model") return begin_skipped(Where::file);
      piece_ = name;
      return true;
    }
    const bool known = name == "added_tokens" || name == "normalizer" || name == "pre_tokenizer" ||
                       name == "decoder" || name == "model";
    if (!known) return begin_skipped(Where::file);
    if (!expect_once(name)) return false;
    piece_ = name;
    if (name != "added_tokens" && name != "model") return begin_tree(Where::file, name);
  } else if (where_ == Where::model) {
    const bool merges = name == "merges";
    if (second_pass_ != merges && (second_pass_ || (merges && !vocab_done_))) {
      merges_waiting_ = merges_waiting_ || merges;
      return begin_skipped(Where::model);
    }
    if (!second_pass_ && !expect_once("model." + in_quotes(name))) return false;
    piece_ = name;
    if (name != "vocab" && !merges) return begin_tree(Where::model, name);
  }
  return true;
}

bool Reader::string(std::string& value) {
  if (where_ == Where::merge) {
    pair_.push_back(value);
    if (pair_.size() > 2)
      return stop("model.merges[{}]: expected two pieces, found more", merges_.size());
    return true;
  }
  if (where_ == Where::merges) return check(merges_.add(value, file_.vocabulary, merges_field_));
  if (where_ == Where::skipped) return scalar(json());
  return scalar(json(std::move(value)));
}

bool Reader::scalar(json value) {
  switch (where_) {
    case Where::outside:
      return stop("expected an object, found {}", found(value));
    case Where::skipped:
      if (skipped_depth_ == 0) where_ = afterwards_;
      return true;
    case Where::tree:
      return add_to_tree(std::move(value));
    case Where::added_tokens:
      return stop("added_tokens: expected objects, found {}", found(value));
    case Where::file:
      return stop("{}: expected {}, found {}", piece_, piece_ == "model" ? "an object" : "an array",
                  found(value));
    case Where::model:
      return stop("model.{}: expected {}, found {}", piece_,
                  piece_ == "vocab" ? "an object" : "an array", found(value));
    case Where::vocab:
      return stop("model.vocab[{}]: expected an id from 0 to {}, found {}", in_quotes(piece_),
                  kMaxId, found(value));
    case Where::merges:
      return stop("model.merges[{}]: expected \"a b\" or [\"a\", \"b\"], found {}", merges_.size(),
                  found(value));
    case Where::merge:
      return stop("model.merges[{}]: expected two pieces, found {}", merges_.size(), found(value));
  }
  return false;
}

bool Reader::start(json empty) {
  switch (where_) {
    case Where::outside:
      if (!empty.is_object()) break;
      where_ = Where::file;
      return true;
    case Where::skipped:
      ++skipped_depth_;
      return true;
    case Where::tree:
      return add_to_tree(std::move(empty));
    case Where::added_tokens:
      begin_tree(Where::added_tokens, fmt::format("added_tokens[{}]", added_.size()));
      return add_to_tree(std::move(empty));
    case Where::file:
      if (empty.is_object() != (piece_ == "model")) break;
      where_ = empty.is_object() ? Where::model : Where::added_tokens;
      return true;
    case Where::model:
      if (empty.is_object() != (piece_ == "vocab")) break;
      where_ = empty.is_object() ? Where::vocab : Where::merges;
      return true;
    case Where::merges:
      if (empty.is_object()) break;
      where_ = Where::merge;
      pair_.clear();
      return true;
    case Where::vocab:
    case Where::merge:
      break;
  }
  return scalar(std::move(empty));
}

bool Reader::end() {
  switch (where_) {
    case Where::skipped:
      if (--skipped_depth_ == 0) where_ = afterwards_;
      return true;
    case Where::tree:
      tree_.leave();
      return !tree_.complete() || tree_complete();
    case Where::vocab:
      where_ = Where::model;
      vocab_done_ = true;
      return check(file_.vocabulary.index(name_ + ": model.vocab"));
    case Where::merge:
      return add_merge();
    case Where::merges:
      where_ = Where::model;
      merges_done_ = true;
      return true;
    case Where::added_tokens:
    case Where::model:
      where_ = Where::file;
      return true;
    case Where::file:
      where_ = Where::outside;
      return true;
    case Where::outside:
      break;
  }
  return false;
}

bool Reader::add_to_tree(json value) {
  if (!tree_.add(std::move(value))) {
    return stop("{}: expected at most {} levels and {} values, found more", tree_field_,
                kMaxTreeDepth, kMaxTreeValues);
  }
  return !tree_.complete() || tree_complete();
}

bool Reader::tree_complete() {
  where_ = afterwards_;
  const json& root = tree_.root();
  if (afterwards_ == Where::model) {
    return check(read_model_field(tree_field_, root, name_ + ": model", ignore_merges_));
  }
  const std::string field = name_ + ": " + tree_field_;
  if (afterwards_ == Where::added_tokens) {
    auto token = read_added_token(root, field);
    if (!token) return check(tl::unexpected<Error>(std::move(token).error()));
    added_.push_back(std::move(*token));
    return true;
  }
  if (tree_field_ == "normalizer") return check(check_normalizer(root, field));
  if (tree_field_ == "decoder") {
    has_decoder_ = true;
    return check(check_decoder(root, field));
  }
  has_pretokenizer_ = true;
  auto pretokenizer = read_pretokenizer(root, field);
  if (!pretokenizer) return check(tl::unexpected<Error>(std::move(pretokenizer).error()));
  file_.pretokenizer = std::move(*pretokenizer);
  return true;
}

bool Reader::add_merge() {
  where_ = Where::merges;
  if (pair_.size() != 2) {
    return stop("model.merges[{}]: expected two pieces, found {}", merges_.size(), pair_.size());
  }
  return check(merges_.add(pair_[0], pair_[1], file_.vocabulary, merges_field_));
}

bool Reader::parse_error(size_t position, const std::string& /*last*/,
                         const json::exception& reason) {
  // "[json.exception.parse_error.101] parse error at line 1, column 2: syntax error ...; expected"
  std::string_view text = reason.what();
  const size_t colon = text.find(": ");
  if (colon != std::string_view::npos) text.remove_prefix(colon + 2);
  constexpr size_t kMaxReasonBytes = 160;
  return stop("not valid JSON at byte {}: {}", position, in_quotes(text, kMaxReasonBytes));
}

Result<void> Reader::take_added() {
  const std::string where = name_ + ": added_tokens";
  for (const AddedToken& token : added_) {
    const std::optional<int32_t> id = file_.vocabulary.find_spelt(token.content);
    if (id && *id != token.id) {
      return bad_input("{}: expected {} to have the id {}, as in the vocabulary, found {}", where,
                       in_quotes(token.content), *id, token.id);
    }
    if (!id) file_.vocabulary.add_literal(token.content, token.id);
  }
  VARVE_TRY(file_.added, AddedTokens::make(std::move(added_), where));
  return {};
}

Result<TokenizerFile> Reader::finish() {
  if (!vocab_done_) return bad_input("{}: expected model.vocab, found none", name_);
  if (!merges_done_) return bad_input("{}: expected model.merges, found none", name_);
  if (!has_pretokenizer_) return bad_input("{}: expected pre_tokenizer, found none", name_);
  if (!has_decoder_) return bad_input("{}: expected decoder, found none", name_);
  VARVE_CHECKED(take_added());
  VARVE_CHECKED(file_.vocabulary.index_ids(name_));
  VARVE_CHECKED(merges_.index(merges_field_, file_.vocabulary));
  file_.bpe = Bpe(file_.vocabulary, std::move(merges_), ignore_merges_);
  return std::move(file_);
}

Result<TokenizerFile> Reader::read(std::string_view text) {
  if (text.size() > kMaxJsonBytes) {
    return bad_input("{}: expected at most {} bytes, found {}", name_, kMaxJsonBytes, text.size());
  }
  if (!json::sax_parse(text, this)) return tl::unexpected<Error>(*error_);
  if (merges_waiting_ && vocab_done_) {
    second_pass_ = true;
    if (!json::sax_parse(text, this)) return tl::unexpected<Error>(*error_);
  }
  return finish();
}

}  // namespace

Result<TokenizerFile> read_tokenizer_json(std::string_view text, const std::string& name) {
  return Reader(name).read(text);
}

}  // namespace varve

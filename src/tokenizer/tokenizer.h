// Text to token ids and back: the byte-level BPE that a Hugging Face `tokenizer.json` describes, or
// a GGUF file's metadata (gguf_vocabulary.h).
//
// The format of tokenizer.json is the one that the `tokenizers` library writes (version "1.0").
// Read here:
//   normalizer      null, or a Sequence of nothing
//   pre_tokenizer   Split (Regex or String; every behavior; invert), Digits, and one ByteLevel at
//                   the end, alone or in a Sequence
//   model           BPE with vocab, merges ("a b" or ["a","b"]) and ignore_merges
//   added_tokens    with lstrip, rstrip, single_word and normalized
//   decoder         ByteLevel, alone or in a Sequence
// post_processor, truncation and padding are left out: nothing is added to a text or cut from it.
// Whatever else would change the ids is refused when the file is read.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace varve {

struct GgufVocabulary;

/// What as_plain_text() puts into a text: U+FDD0, a noncharacter, which Unicode keeps for uses like
/// this one.
inline constexpr std::string_view kPlainTextMark = "\xEF\xB7\x90";

/// Immutable after load; every const member may be called from several threads at once.
class Tokenizer {
 public:
  /// Errors (bad_input) name the file, the field, what was expected and what was found.
  static Result<Tokenizer> load(const std::string& path);
  /// `json` is the text of a tokenizer.json; `name_for_messages` stands for its path in errors.
  static Result<Tokenizer> parse(std::string_view json, const std::string& name_for_messages);

  /// Keeps nothing of `vocabulary`. Errors (bad_input) begin with `name_for_messages`, the file's
  /// path, and the key (`tokenizer.ggml.*`).
  static Result<Tokenizer> from_gguf(const GgufVocabulary& vocabulary,
                                     const std::string& name_for_messages);

  Tokenizer(Tokenizer&& other) noexcept;
  Tokenizer& operator=(Tokenizer&& other) noexcept;
  ~Tokenizer();

  /// The ids of `text`, with nothing added (no begin-of-text). Added tokens are recognised in it,
  /// special ones too: as_plain_text() and encode_marked() keep them out of a user's text.
  /// Bytes that are not UTF-8 are read as U+FFFD, one for each maximal broken part.
  /// Errors (bad_input): the vocabulary has no piece for a byte of the text, a pattern of the
  /// pre-tokenizer needs too many steps, or the text is longer than 1 GiB.
  Result<std::vector<int32_t>> encode(std::string_view text) const;

  /// `text` with a mark inside each added token that is spelt in it, but those of white space alone
  /// or of one character: kPlainTextMark, which texts do not have (it is taken out of `text`
  /// itself). For parts of a text to be encoded that are to be no tokens.
  std::string as_plain_text(std::string_view text) const;
  /// encode() of a text that as_plain_text() made, or that holds such ones: what is marked are no
  /// added tokens, and marks are not there.
  Result<std::vector<int32_t>> encode_marked(std::string_view text) const;

  /// The text of `ids`, special tokens included. Bytes that do not form UTF-8 become U+FFFD, one
  /// for each maximal broken part. An id that names no piece adds nothing.
  /// An added token always decodes to its own text, also one with letters of the byte alphabet in
  /// it (the `tokenizers` library turns "é" into the lone byte 0xE9 and that into U+FFFD).
  std::string decode(std::span<const int32_t> ids) const;
  /// The same with a mark inside each added token that is spelt in the text and that no id stands
  /// for: encode_marked() makes added tokens where they were, and nowhere else.
  std::string decode_marked(std::span<const int32_t> ids) const;

  /// The largest id + 1. Not every id below it has to name a piece.
  int vocab_size() const;

  /// What the tables of pieces and merges take of memory.
  size_t table_bytes() const;

  /// The id of an added token or vocabulary piece, spelt as in the file ("Ġthe", "<think>").
  std::optional<int32_t> id_of(std::string_view token_text) const;

  /// True for an added token: those are found in a text before it is cut into pieces.
  bool is_added(int32_t id) const;
  /// True for an added token that is marked special (in a GGUF: control or unknown).
  bool is_special(int32_t id) const;

  /// The raw bytes that `id` stands for; empty if it names no piece. Valid as long as this object
  /// or one that it was moved to.
  std::string_view piece(int32_t id) const;

 private:
  friend class StreamDecoder;
  struct Parts;
  explicit Tokenizer(std::unique_ptr<const Parts> parts);
  Result<std::vector<int32_t>> encode(std::string_view text, bool has_marks) const;

  std::unique_ptr<const Parts> parts_;
};

/// Decodes ids one at a time. The pieces of text that push() and finish() return, joined, equal
/// Tokenizer::decode() of all the ids.
class StreamDecoder {
 public:
  /// The tokenizer has to outlive the decoder (it may be moved meanwhile).
  explicit StreamDecoder(const Tokenizer& tokenizer);

  /// The text that is complete now; the start of an unfinished UTF-8 sequence is held back.
  std::string push(int32_t id);

  /// What is still held back (an unfinished sequence gives one U+FFFD). Starts afresh after it.
  std::string finish();

 private:
  const Tokenizer::Parts* parts_;
  std::string held_;  // at most 3 bytes: a proper prefix of one UTF-8 sequence
};

}  // namespace varve

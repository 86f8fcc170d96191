// The vocabulary as a GGUF file's metadata carries it, field by field, for Tokenizer::from_gguf().
//
// The fields are filled from the keys named here. The strings are views: they have to live until
// from_gguf() returns (the template of SpecialTokens is a copy). Keys of the metadata that are not
// named have no part in byte-level BPE: `scores` and `add_space_prefix` are SentencePiece's
// (converters write the latter for others too, as false), and no clean-up of spaces is done to what
// is decoded.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace varve {

class GgufMetadata;

/// The values of tokenizer.ggml.token_type.
enum class GgufTokenType : int32_t {
  normal = 1,        // a piece, spelt in the byte alphabet
  unknown = 2,       // these three are spelt as they are, and are found in a text as added tokens:
  control = 3,       // special ones, and
  user_defined = 4,  // one that is not
  unused = 5,        // fills up the vocabulary
  byte = 6,          // SentencePiece's; refused
};

/// Ids that play a part in prompts, and the template that prompts are made by. Encoding adds none
/// of them: it is for who makes the prompt.
struct SpecialTokens {
  std::optional<uint32_t> bos;  // bos_token_id
  std::optional<uint32_t> eos;  // eos_token_id
  std::optional<uint32_t> eot;  // eot_token_id: ends a turn, as eos does
  std::optional<uint32_t> eom;  // eom_token_id: ends a message that calls a tool
  std::optional<uint32_t> unk;  // unknown_token_id
  std::optional<uint32_t> pad;  // padding_token_id
  std::optional<bool> add_bos;  // add_bos_token; see begins_with_bos()
  std::optional<bool> add_eos;  // add_eos_token
  std::string chat_template;    // tokenizer.chat_template (not of ggml); empty: none
};

struct GgufVocabulary {
  std::string_view model;                // model: "gpt2" is byte-level BPE
  std::string_view pre;                  // pre: how text is cut into words; empty: none
  std::vector<std::string_view> tokens;  // tokens: by id
  std::vector<int32_t> token_types;      // token_type: GgufTokenType by id
  std::vector<std::string_view> merges;  // merges: "left right" by rank
  SpecialTokens special;
};

/// Views into `metadata`. Errors (bad_input): a key that has to be there is not, or is of another
/// type. Whether the vocabulary makes sense is for Tokenizer::from_gguf() to say.
Result<GgufVocabulary> read_vocabulary(const GgufMetadata& metadata);

/// Whether a prompt begins with `special.bos`: what the file says, or, where it says nothing, what
/// its kind of `pre` does.
bool begins_with_bos(const GgufVocabulary& vocabulary);

}  // namespace varve

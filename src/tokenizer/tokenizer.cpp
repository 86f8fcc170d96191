#include "tokenizer/tokenizer.h"

#include <algorithm>
#include <deque>
#include <exception>
#include <new>
#include <utility>

#include "base/mapped_file.h"
#include "tokenizer/gguf_tokenizer.h"
#include "tokenizer/hash.h"
#include "tokenizer/quote.h"
#include "tokenizer/tokenizer_json.h"
#include "tokenizer/tokenizer_parts.h"
#include "tokenizer/utf8.h"

namespace varve {
namespace {

constexpr size_t kMaxTextBytes = size_t{1} << 30;

// `text`, all of its marks taken out.
std::string without_marks(std::string_view text) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const size_t mark = std::min(text.find(kPlainTextMark, at), text.size());
    out += text.substr(at, mark - at);
    at = mark + kPlainTextMark.size();
  }
  return out;
}

// Words of this call that were encoded already: where they stand in the text, and where their ids
// stand in the result. A word that comes again has its ids copied. Nothing is shared by calls.
class WordCache {
 public:
  struct Entry {
    const char* word = nullptr;
    uint32_t n_bytes = 0;
    uint32_t n_ids = 0;
    size_t first_id = 0;
  };

  explicit WordCache(size_t text_bytes) {
    if (text_bytes >= kWorthwhileBytes) entries_.resize(kEntries);
  }

  /// The place for `word`, or null: for a short text, or a word that is too long to keep.
  Entry* place(std::string_view word) {
    if (entries_.empty() || word.size() > kMaxWordBytes) return nullptr;
    return &entries_[slot_of(hash_bytes(word), kEntries)];
  }

 private:
  static constexpr size_t kWorthwhileBytes = 2048;
  static constexpr size_t kEntries = 8192;  // 192 KiB
  static constexpr size_t kMaxWordBytes = 256;

  std::vector<Entry> entries_;
};

class Encoder final : public WordSink {
 public:
  Encoder(const TokenizerFile& file, const std::string& name, std::string_view text, bool has_marks)
      : file_(file),
        name_(name),
        text_(text),
        has_marks_(has_marks),
        regex_scratch_(text.size()),
        cache_(text.size()) {
    ids_.reserve(text.size() / 4);
  }

  Result<std::vector<int32_t>> run() {
    const auto on_token = [&](int32_t id) {
      ids_.push_back(id);
      return true;
    };
    const auto words = [&](std::string_view span) {
      if (has_marks_ && span.find(kPlainTextMark) != span.npos) {
        span = unmarked_.emplace_back(without_marks(span));
      }
      auto done = file_.pretokenizer.split(span, regex_scratch_, *this);
      if (!done && !error_) error_ = std::move(done).error();
      return !error_.has_value();
    };
    const auto normalized = [&](std::string_view span) {
      return file_.added.cut(span, true, regex_scratch_, on_token, words);
    };
    file_.added.cut(text_, false, regex_scratch_, on_token, normalized);
    if (error_) return tl::unexpected<Error>(std::move(*error_));
    return std::move(ids_);
  }

  bool word(std::string_view word, bool lasting) override {
    WordCache::Entry* const entry = lasting ? cache_.place(word) : nullptr;
    if (entry != nullptr && std::string_view(entry->word, entry->n_bytes) == word) {
      for (size_t i = 0; i < entry->n_ids; ++i) ids_.push_back(ids_[entry->first_id + i]);
      return true;
    }
    const size_t first_id = ids_.size();
    const std::optional<uint8_t> unknown =
        file_.bpe.encode_word(file_.vocabulary, word, bpe_scratch_, ids_);
    if (unknown) {
      error_ = Error{ErrorKind::bad_input,
                     fmt::format("{}: {}: expected a piece for each byte of the text, found none "
                                 "for the byte 0x{:02X}",
                                 name_, file_.vocabulary_field, *unknown)};
      return false;
    }
    if (entry != nullptr) {
      *entry = {word.data(), static_cast<uint32_t>(word.size()),
                static_cast<uint32_t>(ids_.size() - first_id), first_id};
    }
    return true;
  }

 private:
  const TokenizerFile& file_;
  const std::string& name_;
  std::string_view text_;
  bool has_marks_;
  std::deque<std::string> unmarked_;  // which the word cache looks into
  RegexScratch regex_scratch_;
  BpeScratch bpe_scratch_;
  WordCache cache_;
  std::vector<int32_t> ids_;
  std::optional<Error> error_;
};

// Runs `make`, which reads the file `name`.
template <class Make>
Result<Tokenizer> without_exceptions(const std::string& name, const Make& make) {
  try {
    return make();
  } catch (const std::bad_alloc&) {
    return fail(ErrorKind::internal, "{}: no memory to read it", name);
  } catch (const std::exception& e) {
    return bad_input("{}: cannot be read: {}", name, in_quotes(e.what()));
  }
}

}  // namespace

Tokenizer::Tokenizer(std::unique_ptr<const Parts> parts) : parts_(std::move(parts)) {}
Tokenizer::Tokenizer(Tokenizer&& other) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&& other) noexcept = default;
Tokenizer::~Tokenizer() = default;

Result<Tokenizer> Tokenizer::load(const std::string& path) {
  VARVE_TRY(const MappedFile file, MappedFile::open(path));
  const std::span<const std::byte> bytes = file.bytes();
  return parse({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, path);
}

Result<Tokenizer> Tokenizer::parse(std::string_view json, const std::string& name_for_messages) {
  return without_exceptions(name_for_messages, [&]() -> Result<Tokenizer> {
    VARVE_TRY(TokenizerFile file, read_tokenizer_json(json, name_for_messages));
    return Tokenizer(std::make_unique<const Parts>(Parts{std::move(file), name_for_messages}));
  });
}

Result<Tokenizer> Tokenizer::from_gguf(const GgufVocabulary& vocabulary,
                                       const std::string& name_for_messages) {
  return without_exceptions(name_for_messages, [&]() -> Result<Tokenizer> {
    VARVE_TRY(TokenizerFile file, read_gguf_vocabulary(vocabulary, name_for_messages));
    return Tokenizer(std::make_unique<const Parts>(Parts{std::move(file), name_for_messages}));
  });
}

std::string Tokenizer::as_plain_text(std::string_view text) const {
  const std::string unmarked = without_marks(text);
  std::string out;
  for (std::string_view rest = unmarked; !rest.empty();) {
    const AddedToken* const token = parts_->file.added.longest_at(rest);
    const size_t n_bytes = utf8_step(rest).n_bytes;
    out += rest.substr(0, n_bytes);
    if (token != nullptr && token->content.size() > n_bytes &&
        leading_white_space_bytes(token->content) < token->content.size()) {
      out += kPlainTextMark;
    }
    rest.remove_prefix(n_bytes);
  }
  return out;
}

Result<std::vector<int32_t>> Tokenizer::encode(std::string_view text) const {
  return encode(text, false);
}

Result<std::vector<int32_t>> Tokenizer::encode_marked(std::string_view text) const {
  return encode(text, true);
}

Result<std::vector<int32_t>> Tokenizer::encode(std::string_view text, bool has_marks) const {
  if (text.size() > kMaxTextBytes) {
    return bad_input("{}: expected a text of at most {} bytes, found {}", parts_->name,
                     kMaxTextBytes, text.size());
  }
  try {
    if (is_utf8(text)) return Encoder(parts_->file, parts_->name, text, has_marks).run();
    std::string repaired;
    std::string held;
    append_lossy(text, held, repaired);
    finish_lossy(held, repaired);
    return Encoder(parts_->file, parts_->name, repaired, has_marks).run();
  } catch (const std::exception& e) {
    return fail(ErrorKind::internal, "{}: cannot encode a text of {} bytes: {}", parts_->name,
                text.size(), e.what());
  }
}

std::string Tokenizer::decode(std::span<const int32_t> ids) const {
  std::string text;
  std::string held;
  for (const int32_t id : ids) append_lossy(piece(id), held, text);
  finish_lossy(held, text);
  return text;
}

int Tokenizer::vocab_size() const {
  return parts_->file.vocabulary.size();
}

size_t Tokenizer::table_bytes() const {
  const TokenizerFile& file = parts_->file;
  return file.vocabulary.table_bytes() + file.bpe.table_bytes() +
         file.added.tokens().capacity() * sizeof(AddedToken);
}

std::optional<int32_t> Tokenizer::id_of(std::string_view token_text) const {
  if (const AddedToken* token = parts_->file.added.find(token_text)) return token->id;
  return parts_->file.vocabulary.find_spelt(token_text);
}

std::string Tokenizer::decode_marked(std::span<const int32_t> ids) const {
  std::string text;
  std::string spelt;  // since the last added token
  std::string held;
  const auto end_spelt = [&] {
    finish_lossy(held, spelt);
    text += as_plain_text(spelt);
    spelt.clear();
  };
  for (const int32_t id : ids) {
    if (parts_->file.added.find(id) == nullptr) {
      append_lossy(piece(id), held, spelt);
      continue;
    }
    end_spelt();
    text += piece(id);
  }
  end_spelt();
  return text;
}

bool Tokenizer::is_added(int32_t id) const {
  return parts_->file.added.find(id) != nullptr;
}

bool Tokenizer::is_special(int32_t id) const {
  const AddedToken* token = parts_->file.added.find(id);
  return token != nullptr && token->special;
}

std::string_view Tokenizer::piece(int32_t id) const {
  return parts_->file.vocabulary.bytes_of(id);
}

}  // namespace varve

#include <unistd.h>

#include <cstdio>
#include <filesystem>

#include "chat/deepseek_v4_texts.h"
#include "convert/convert.h"
#include "convert/encoding.h"
#include "convert/model_tensors.h"
#include "convert/tally.h"
#include "formats/safetensors_writer.h"
#include "models/deepseek_v4/config_json.h"
#include "tokenizer/gguf_export.h"
#include "tokenizer/tokenizer.h"

namespace varve {
namespace {

namespace fs = std::filesystem;

// One tensor of the new file: packed e2m1 is two, its codes and its scales.
struct Piece {
  DeclaredTensor declared;
  size_t bytes = 0;
  std::function<Result<void>(const Sink&)> write;
};

std::string scale_name(std::string name) {
  constexpr std::string_view kEnd = ".weight";
  if (name.ends_with(kEnd)) name.resize(name.size() - kEnd.size());
  return name + ".scale";
}

// A matrix that may be cut into parts, which have one type then: they come from one tensor.
void add_matrix(std::string name, std::vector<Weight> parts, std::vector<Piece>& out) {
  int64_t n_rows = 0;
  bool packs = true;
  for (const Weight& part : parts) {
    n_rows += part.n_rows;
    packs = packs && safetensors_encoding(part).type == DType::e2m1x2;
  }
  const int64_t n_cols = parts.front().n_cols;
  const DType stored = parts.front().type;
  const DType type = packs ? DType::e2m1x2 : dtype_is_block(stored) ? DType::f32 : stored;
  const auto all = [parts](const auto& write_one) {
    return [parts, write_one](const Sink& sink) -> Result<void> {
      for (const Weight& part : parts) VARVE_CHECKED(write_one(part, sink));
      return {};
    };
  };
  const std::string dtype = packs ? "I8" : std::string(dtype_name(type));
  out.push_back(
      {{name, dtype, {n_rows, packs ? n_cols / 2 : n_cols}},
       encoded_bytes(type, n_rows, n_cols),
       all([type](const Weight& part, const Sink& sink) { return write_rows(part, type, sink); })});
  if (!packs) return;
  const int64_t n_groups = n_cols / static_cast<int64_t>(dtype_values(DType::mxfp4));
  out.push_back({{scale_name(std::move(name)), "F8_E8M0", {n_rows, n_groups}},
                 static_cast<size_t>(n_rows * n_groups),
                 all(write_scales)});
}

template <class T>
Piece plain(const ModelTensor& tensor, std::string dtype, std::span<const T> values) {
  return {{tensor.name, std::move(dtype), tensor.shape},
          values.size_bytes(),
          [values](const Sink& sink) { return sink(std::as_bytes(values)); }};
}

std::vector<Piece> pieces_of(const ModelTensor& tensor) {
  std::vector<Piece> out;
  if (!tensor.values.empty()) {
    out.push_back(plain(tensor, "F32", tensor.values));
  } else if (!tensor.ids.empty()) {
    out.push_back(plain(tensor, "I32", tensor.ids));
  } else if (!tensor.is_stack) {
    add_matrix(tensor.name, tensor.matrices, out);
  } else {
    for (size_t e = 0; e < tensor.matrices.size(); ++e) {
      add_matrix(expert_name(tensor.name, e), {tensor.matrices[e]}, out);
    }
  }
  return out;
}

Result<void> write_text(const fs::path& path, const std::string& text) {
  std::FILE* const file = std::fopen(path.c_str(), "wb");
  const bool written = file != nullptr &&
                       std::fwrite(text.data(), 1, text.size(), file) == text.size() &&
                       std::fflush(file) == 0 && fsync(fileno(file)) == 0;
  if (file != nullptr && std::fclose(file) == 0 && written) return {};
  return fail(ErrorKind::internal, "cannot write {}", path.string());
}

Result<void> write_weights(const std::vector<Piece>& pieces, const fs::path& path,
                           const ConvertProgress& progress) {
  std::vector<DeclaredTensor> declared;
  size_t total = 0, done = 0;
  for (const Piece& piece : pieces) {
    declared.push_back(piece.declared);
    total += piece.bytes;
  }
  VARVE_TRY(SafetensorsWriter writer,
            SafetensorsWriter::create(path.string(), declared, {{"format", "pt"}}));
  for (const Piece& piece : pieces) {
    VARVE_CHECKED(piece.write([&](std::span<const std::byte> bytes) {
      done += bytes.size();
      progress(done, total);
      return writer.write(piece.declared.name, bytes);
    }));
  }
  return writer.finish();
}

Result<void> write_texts(const deepseek_v4::Config& config, const GgufVocabulary* vocabulary,
                         const fs::path& folder) {
  VARVE_CHECKED(
      write_text(folder / "config.json", deepseek_v4::config_json(config, /*has_fp8=*/false)));
  if (vocabulary == nullptr) return {};
  VARVE_CHECKED(write_text(folder / "tokenizer.json", tokenizer_json(*vocabulary)));
  return write_text(folder / "tokenizer_config.json", tokenizer_config_json(*vocabulary));
}

// What is read from DIR/encoding/ again.
Result<void> write_chat_texts(const GgufMetadata& metadata, const fs::path& folder) {
  const std::string module = python_module_of(read_deepseek_v4_texts(metadata));
  if (module.empty()) return {};
  std::error_code error;
  fs::create_directory(folder / "encoding", error);
  return write_text(folder / "encoding" / "encoding_dsv4.py", module);
}

// What is written so far goes away where the rest fails.
class UnfinishedFolder {
 public:
  explicit UnfinishedFolder(fs::path path) : path_(std::move(path)) {}
  ~UnfinishedFolder() {
    std::error_code ignored;
    if (!path_.empty()) fs::remove_all(path_, ignored);
  }
  UnfinishedFolder(const UnfinishedFolder&) = delete;
  UnfinishedFolder& operator=(const UnfinishedFolder&) = delete;

  Result<void> create() {
    std::error_code error;
    if (fs::create_directory(path_, error)) return {};
    const fs::path path = std::exchange(path_, {});
    return fail(ErrorKind::internal, "cannot make directory {}: {}", path.string(),
                error ? error.message() : "it is there already");
  }
  Result<void> finish(const std::string& to) {
    std::error_code error;
    fs::rename(path_, to, error);
    if (error) {
      return fail(ErrorKind::internal, "cannot rename {} to {}: {}", path_.string(), to,
                  error.message());
    }
    path_.clear();
    return {};
  }

 private:
  fs::path path_;  // empty: nothing to take away
};

}  // namespace

Result<Conversion> convert_to_directory(const Model& model, const GgufVocabulary* vocabulary,
                                        const std::string& to, const ConvertProgress& progress) {
  const auto& v4 = static_cast<const deepseek_v4::DeepseekV4&>(model);
  Conversion out;
  out.n_left_out = n_prediction_tensors(model.checkpoint(), v4.config().n_layers);
  if (vocabulary == nullptr) {
    out.tokenizer = "the GGUF file has no vocabulary: the directory has no tokenizer.json";
  } else {
    VARVE_CHECKED(Tokenizer::from_gguf(*vocabulary, model.checkpoint().files().front()));
  }
  std::vector<Piece> pieces;
  for (const ModelTensor& tensor : model_tensors(v4)) {
    std::vector<Piece> some = pieces_of(tensor);
    size_t bytes = 0;
    for (const Piece& piece : some) bytes += piece.bytes;
    const std::string& dtype = some.front().declared.dtype;
    add_to_tally(out.tensors, stored_as(tensor), dtype == "I8" ? "I8 + F8_E8M0" : dtype, true,
                 bytes);
    std::move(some.begin(), some.end(), std::back_inserter(pieces));
  }
  const fs::path part = fs::path(to + ".part");
  UnfinishedFolder folder(part);
  VARVE_CHECKED(folder.create());
  VARVE_CHECKED(write_texts(v4.config(), vocabulary, part));
  VARVE_CHECKED(write_chat_texts(*model.checkpoint().gguf(), part));
  VARVE_CHECKED(write_weights(pieces, part / "model.safetensors", progress));
  VARVE_CHECKED(folder.finish(to));
  return out;
}

}  // namespace varve

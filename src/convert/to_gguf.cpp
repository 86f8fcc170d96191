#include <algorithm>
#include <filesystem>

#include "chat/deepseek_v4_texts.h"
#include "convert/convert.h"
#include "convert/encoding.h"
#include "convert/model_tensors.h"
#include "convert/tally.h"
#include "convert/v4_metadata.h"
#include "convert/vocabulary.h"
#include "formats/gguf_writer.h"
#include "models/gguf_names.h"

namespace varve {
namespace {

struct Planned {
  DeclaredGgufTensor declared;
  Encoding encoding;
};

Planned plan(const ModelTensor& tensor, DType fp8) {
  Encoding encoding;
  if (!tensor.matrices.empty()) encoding = gguf_encoding(tensor.matrices, fp8);
  if (!tensor.ids.empty()) encoding.type = DType::i32;
  return {{gguf_tensor_name(tensor.name), encoding.type, tensor.shape}, encoding};
}

Result<void> write(const ModelTensor& tensor, DType type, const Sink& sink) {
  if (!tensor.values.empty()) return sink(std::as_bytes(tensor.values));
  if (!tensor.ids.empty()) return sink(std::as_bytes(tensor.ids));
  for (const Weight& matrix : tensor.matrices) VARVE_CHECKED(write_rows(matrix, type, sink));
  return {};
}

size_t planned_bytes(const Planned& planned) {
  size_t n_values = 1;
  for (const int64_t extent : planned.declared.shape) n_values *= static_cast<size_t>(extent);
  return n_values / dtype_values(planned.encoding.type) * dtype_bytes(planned.encoding.type);
}

}  // namespace

Result<Conversion> convert_to_gguf(const Model& model, const std::string& from,
                                   const std::string& to, DType fp8,
                                   const ConvertProgress& progress) {
  const auto& v4 = static_cast<const deepseek_v4::DeepseekV4&>(model);
  const std::filesystem::path folder(from);
  GgufEntries entries;
  const auto name = std::filesystem::absolute(folder / "").parent_path().filename().string();
  VARVE_CHECKED(add_v4_metadata(v4.config(), (folder / "config.json").string(), name, entries));
  Conversion out;
  VARVE_TRY(out.tokenizer, add_vocabulary(from, v4.config(), entries));
  for (const auto& [key, text] : gguf_entries_of(read_deepseek_v4_texts(from))) {
    entries.add(key, text);
  }
  out.n_left_out = n_prediction_tensors(model.checkpoint(), v4.config().n_layers);

  const std::vector<ModelTensor> tensors = model_tensors(v4);
  std::vector<DeclaredGgufTensor> declared;
  std::vector<Encoding> encodings;
  size_t total = 0, done = 0;
  for (const ModelTensor& tensor : tensors) {
    const Planned planned = plan(tensor, fp8);
    const size_t bytes = planned_bytes(planned);
    total += bytes;
    declared.push_back(planned.declared);
    encodings.push_back(planned.encoding);
    add_to_tally(out.tensors, stored_as(tensor), std::string(dtype_name(planned.encoding.type)),
                 planned.encoding.exact, bytes);
  }
  VARVE_TRY(GgufWriter writer, GgufWriter::create(to, entries, declared));
  for (size_t i = 0; i < tensors.size(); ++i) {
    const auto sink = [&](std::span<const std::byte> bytes) {
      done += bytes.size();
      progress(done, total);
      return writer.write(declared[i].name, bytes);
    };
    VARVE_CHECKED(write(tensors[i], encodings[i].type, sink));
  }
  VARVE_CHECKED(writer.finish());
  return out;
}

}  // namespace varve

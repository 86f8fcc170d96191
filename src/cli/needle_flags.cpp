#include "cli/needle_flags.h"

#include <algorithm>
#include <set>

#include "cli/needle_map.h"
#include "cli/prompt.h"

namespace varve::cli {
namespace {

constexpr int kMaxDocuments = 1000;

Result<void> check_once(std::string_view flag, std::string_view what, const std::vector<int>& of) {
  if (std::set<int>(of.begin(), of.end()).size() == of.size()) return {};
  return usage_error("{}: expected each {} once", flag, what);
}

// Those that the model takes, or the longest that it does.
std::vector<int> within(const std::vector<int>& lengths, int most) {
  std::vector<int> out;
  std::copy_if(lengths.begin(), lengths.end(), std::back_inserter(out),
               [&](int n) { return n <= most; });
  if (out.empty()) out.push_back(most);
  return out;
}

}  // namespace

void NeedleFlags::add_to(CLI::App& verb) {
  verb.add_option("--lengths", lengths,
                  fmt::format("Tokens of documents, e.g. 1K,2K,8K; default: {}, as far as\n"
                              "the model goes",
                              fmt::join(usual_lengths, ",")));
  verb.add_option("--depths", depths, "Where the fact is hidden, in percent of the filler")
      ->delimiter(',')
      ->capture_default_str();
  verb.add_option("--documents", n_documents,
                  "Documents of each length and depth, with seeds 1, 2, ...")
      ->capture_default_str();
  verb.add_option("--haystack", haystack, "File of filler text; default: a few sentences built in");
}

Result<NeedleSet> NeedleFlags::load(const EvalModel& from) const {
  NeedleSet set;
  set.options.lengths = within(usual_lengths, from.model->max_position());
  if (!lengths.empty()) {
    VARVE_TRY(set.options.lengths, parse_tokens("--lengths", lengths));
  }
  for (const int length : set.options.lengths) {
    if (length <= from.model->max_position()) continue;
    return usage_error("--lengths {}: the model was made for at most {} tokens", length,
                       from.model->max_position());
  }
  if (set.options.lengths.size() > kMaxMapColumns) {
    return usage_error("--lengths: {} lengths; expected at most {}", set.options.lengths.size(),
                       kMaxMapColumns);
  }
  for (const int depth : depths) {
    if (depth < 0 || depth > 100) {
      return usage_error("--depths {}: expected percents, 0 to 100", depth);
    }
  }
  VARVE_CHECKED(check_once("--lengths", "length", set.options.lengths));
  VARVE_CHECKED(check_once("--depths", "depth", depths));
  if (n_documents < 1 || n_documents > kMaxDocuments) {
    return usage_error("--documents {}: expected 1 to {}", n_documents, kMaxDocuments);
  }
  set.options.depths_percent = depths;
  set.options.n_documents = n_documents;
  VARVE_TRY(const Tokenizer tokenizer, load_tokenizer(from.path, *from.model));
  Haystack filler = Haystack::built_in();
  if (!haystack.empty()) {
    VARVE_TRY(const std::string text, read_text(haystack));
    VARVE_TRY(filler, Haystack::from_text(text, haystack));
  }
  VARVE_TRY(set.documents,
            make_needle_documents(tokenizer, filler, from.model->bos_id(), set.options));
  return set;
}

}  // namespace varve::cli

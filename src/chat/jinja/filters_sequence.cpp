// Filters of lists, strings and dictionaries as a whole: length, order, ends, sums.
#include <algorithm>
#include <cstdint>
#include <list>
#include <optional>
#include <unordered_set>

#include "chat/jinja/access.h"
#include "chat/jinja/filters.h"
#include "chat/jinja/operators.h"
#include "chat/jinja/split.h"
#include "chat/jinja/text.h"

namespace varve::jinja {
namespace {

constexpr int64_t kMaxBatch = 1 << 20;

Result<Value> length_filter(const Value& in, const Arguments&, Budget& budget) {
  if (in.is_undefined()) return Value(int64_t{0});
  if (const std::string* const text = in.text()) {
    VARVE_CHECKED(budget.take_bytes(text->size()));
    return Value(static_cast<int64_t>(n_characters(*text)));
  }
  if (const Dict* const dict = in.dict()) return Value(static_cast<int64_t>(dict->entries.size()));
  const List* const list = in.list();
  if (list != nullptr && list->kind != ListKind::generator) {
    return Value(static_cast<int64_t>(list->items.size()));
  }
  if (list != nullptr) {
    return bad_input("`length` is asked of what a filter gives piece by piece; `list` first");
  }
  return bad_input("`length` does not apply to {}", in.describe());
}

// Undefined where no attribute is named: the value itself then.
Result<Value> part_of(const Value& value, const Value& path, Budget& budget) {
  if (path.is_undefined() || path.is_none()) return value;
  if (const std::string* const text = path.text()) return item_at_path(value, *text, budget);
  return item(value, path, budget);
}

Result<Value> join_filter(const Value& in, const Arguments& args, Budget& budget) {
  VARVE_TRY(const std::vector<Value> items, items_of(in, budget));
  VARVE_TRY(const std::string between, to_text(args.positional[0], budget));
  std::string out;
  for (size_t i = 0; i < items.size(); ++i) {
    VARVE_TRY(const Value part, part_of(items[i], args.positional[1], budget));
    VARVE_TRY(const std::string text, to_text(part, budget));
    VARVE_CHECKED(budget.make_bytes(text.size() + between.size()));
    if (i > 0) out += between;
    out += text;
  }
  return Value::text(std::move(out));
}

template <bool of_first>
Result<Value> end_filter(const Value& in, const Arguments&, Budget& budget) {
  VARVE_TRY(const std::vector<Value> items, items_of(in, budget));
  if (items.empty()) return Value::undefined(of_first ? "first" : "last");
  return of_first ? items.front() : items.back();
}

Result<Value> list_filter(const Value& in, const Arguments&, Budget& budget) {
  VARVE_TRY(std::vector<Value> items, items_of(in, budget));
  return make_list(std::move(items));
}

Result<Value> items_filter(const Value& in, const Arguments&, Budget& budget) {
  if (in.is_undefined()) return make_list({}, ListKind::generator);
  const Dict* const dict = in.dict();
  if (dict == nullptr) return bad_input("`items` does not apply to {}", in.describe());
  std::vector<Value> items;
  for (const auto& [key, value] : dict->entries) {
    VARVE_CHECKED(budget.take(1));
    VARVE_TRY(Value pair, make_list({key, value}, ListKind::tuple));
    items.push_back(std::move(pair));
  }
  return make_list(std::move(items), ListKind::generator);
}

Result<Value> reverse_filter(const Value& in, const Arguments&, Budget& budget) {
  VARVE_TRY(std::vector<Value> items, items_of(in, budget));
  std::reverse(items.begin(), items.end());
  if (in.text() == nullptr) return make_list(std::move(items), ListKind::generator);
  std::string out;
  for (const Value& item : items) out += *item.text();
  return Value::text(std::move(out));
}

// What values are compared by: strings without their case unless it counts.
Result<Value> sort_key(const Value& value, const Value& path, bool counts_case, Budget& budget) {
  if (path.text() != nullptr && path.text()->find(',') != std::string::npos) {
    std::vector<Value> keys;  // "a,b": by a, then by b
    VARVE_TRY(const Parts parts, split(*path.text(), ",", -1, budget));
    for (const std::string_view part : parts) {
      VARVE_TRY(Value key, sort_key(value, Value::text(std::string(part)), counts_case, budget));
      keys.push_back(std::move(key));
    }
    return make_list(std::move(keys));
  }
  VARVE_TRY(Value part, part_of(value, path, budget));
  if (counts_case || part.text() == nullptr) return part;
  VARVE_TRY(std::string text, lower(*part.text()));
  VARVE_CHECKED(budget.take_bytes(text.size()));
  return Value::text(std::move(text));
}

// The order of `keys`: places into them, equal ones in their order. A list sorts itself by merging,
// which any comparison leaves whole, that of NaN too.
Result<std::list<size_t>> order_of(const std::vector<Value>& keys, bool descends, Budget& budget) {
  std::list<size_t> order;
  for (size_t i = 0; i < keys.size(); ++i) order.push_back(i);
  std::optional<Error> error;
  order.sort([&](size_t a, size_t b) {
    if (error) return false;
    const Result<bool> before =
        descends ? less(keys[b], keys[a], budget) : less(keys[a], keys[b], budget);
    if (!before) error = before.error();
    return before && *before;
  });
  if (error) return tl::unexpected<Error>(*std::move(error));
  return order;
}

Result<Value> sort_filter(const Value& in, const Arguments& args, Budget& budget) {
  VARVE_TRY(const std::vector<Value> items, items_of(in, budget));
  std::vector<Value> keys;
  for (const Value& value : items) {
    VARVE_TRY(Value key, sort_key(value, args.positional[2], args.positional[1].truth(), budget));
    keys.push_back(std::move(key));
  }
  VARVE_TRY(const std::list<size_t> order, order_of(keys, args.positional[0].truth(), budget));
  std::vector<Value> sorted;
  sorted.reserve(items.size());
  for (const size_t i : order) sorted.push_back(items[i]);
  return make_list(std::move(sorted));
}

// case_sensitive, by ('key' or 'value'), reverse.
Result<Value> dictsort_filter(const Value& in, const Arguments& args, Budget& budget) {
  const Dict* const dict = in.dict();
  if (dict == nullptr) return bad_input("`dictsort` does not apply to {}", in.describe());
  const std::string* const by = args.positional[1].text();
  if (by != nullptr && *by != "key" && *by != "value") {
    return bad_input("`dictsort` sorts by 'key' or 'value', not {}", text_repr(*by));
  }
  const bool by_value = by != nullptr && *by == "value";
  std::vector<Value> keys;
  for (const auto& [key, value] : dict->entries) {
    VARVE_TRY(Value sorted_by,
              sort_key(by_value ? value : key, Value(), args.positional[0].truth(), budget));
    keys.push_back(std::move(sorted_by));
  }
  VARVE_TRY(const std::list<size_t> order, order_of(keys, args.positional[2].truth(), budget));
  std::vector<Value> sorted;
  for (const size_t i : order) {
    VARVE_TRY(Value pair,
              make_list({dict->entries[i].first, dict->entries[i].second}, ListKind::tuple));
    sorted.push_back(std::move(pair));
  }
  return make_list(std::move(sorted));
}

// case_sensitive, attribute.
Result<Value> unique_filter(const Value& in, const Arguments& args, Budget& budget) {
  VARVE_TRY(const std::vector<Value> items, items_of(in, budget));
  std::vector<Value> keys;
  std::vector<Value> kept;
  for (const Value& value : items) {
    VARVE_TRY(Value key, sort_key(value, args.positional[1], args.positional[0].truth(), budget));
    bool is_new = true;
    for (const Value& seen : keys) {
      VARVE_TRY(const bool same, equal(seen, key, budget));
      is_new = is_new && !same;
    }
    if (!is_new) continue;
    keys.push_back(std::move(key));
    kept.push_back(value);
  }
  return make_list(std::move(kept), ListKind::generator);
}

// case_sensitive, attribute.
template <bool of_least>
Result<Value> extreme_filter(const Value& in, const Arguments& args, Budget& budget) {
  VARVE_TRY(const std::vector<Value> items, items_of(in, budget));
  if (items.empty()) return Value::undefined(of_least ? "min" : "max");
  size_t best = 0;
  Value best_key;
  for (size_t i = 0; i < items.size(); ++i) {
    VARVE_TRY(Value key,
              sort_key(items[i], args.positional[1], args.positional[0].truth(), budget));
    bool better = i == 0;
    if (i > 0) {
      VARVE_TRY(better, of_least ? less(key, best_key, budget) : less(best_key, key, budget));
    }
    if (!better) continue;
    best = i;
    best_key = std::move(key);
  }
  return items[best];
}

// attribute, start.
Result<Value> sum_filter(const Value& in, const Arguments& args, Budget& budget) {
  VARVE_TRY(const std::vector<Value> items, items_of(in, budget));
  Value sum = args.positional[1].is_undefined() ? Value(int64_t{0}) : args.positional[1];
  for (const Value& value : items) {
    VARVE_TRY(const Value part, part_of(value, args.positional[0], budget));
    VARVE_TRY(sum, arithmetic(ArithmeticOp::add, sum, part, budget));
  }
  return sum;
}

// linecount, fill_with.
Result<Value> batch_filter(const Value& in, const Arguments& args, Budget& budget) {
  VARVE_TRY(const std::vector<Value> items, items_of(in, budget));
  int64_t storage = 0;
  const int64_t* const size = args.positional[0].integer(storage);
  if (size == nullptr || *size < 1 || *size > kMaxBatch) {
    return bad_input("`batch` expects 1 to {} items, found {}", kMaxBatch,
                     args.positional[0].describe());
  }
  std::vector<Value> batches;
  for (size_t begin = 0; begin < items.size(); begin += static_cast<size_t>(*size)) {
    const size_t end = std::min(items.size(), begin + static_cast<size_t>(*size));
    std::vector<Value> batch(items.begin() + static_cast<std::ptrdiff_t>(begin),
                             items.begin() + static_cast<std::ptrdiff_t>(end));
    if (!args.positional[1].is_undefined() && !args.positional[1].is_none()) {
      VARVE_CHECKED(budget.make_bytes(static_cast<size_t>(*size) * sizeof(Value)));
      batch.resize(static_cast<size_t>(*size), args.positional[1]);
    }
    VARVE_TRY(Value row, make_list(std::move(batch)));
    batches.push_back(std::move(row));
  }
  return make_list(std::move(batches), ListKind::generator);
}

constexpr FilterInfo kFilters[] = {
    {"length", {}, length_filter},
    {"count", {}, length_filter},
    {"join", {"d attribute"}, join_filter},
    {"first", {}, end_filter<true>},
    {"last", {}, end_filter<false>},
    {"list", {}, list_filter},
    {"items", {}, items_filter},
    {"reverse", {}, reverse_filter},
    {"sort", {"reverse case_sensitive attribute"}, sort_filter},
    {"dictsort", {"case_sensitive by reverse"}, dictsort_filter},
    {"unique", {"case_sensitive attribute"}, unique_filter},
    {"min", {"case_sensitive attribute"}, extreme_filter<true>},
    {"max", {"case_sensitive attribute"}, extreme_filter<false>},
    {"sum", {"attribute start"}, sum_filter},
    {"batch", {"linecount fill_with", 1}, batch_filter},
};

}  // namespace

std::span<const FilterInfo> sequence_filters() {
  return kFilters;
}

}  // namespace varve::jinja

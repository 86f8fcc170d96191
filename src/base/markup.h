// Text inside HTML and XML.
#pragma once

#include <string>
#include <string_view>

namespace varve {

/// `text` with & < > ' " as entities, spelt as Python's markupsafe does.
std::string escape_markup(std::string_view text);

}  // namespace varve

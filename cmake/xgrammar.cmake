# The target xgrammar::xgrammar, of what tools/get-xgrammar.sh has built.
set(VARVE_XGRAMMAR ${PROJECT_SOURCE_DIR}/build/deps/xgrammar CACHE PATH
  "Where tools/get-xgrammar.sh has put xgrammar")
if(NOT EXISTS ${VARVE_XGRAMMAR}/lib/libxgrammar.a)
  message(FATAL_ERROR "xgrammar is not in ${VARVE_XGRAMMAR}: tools/get-xgrammar.sh puts it there")
endif()
add_library(xgrammar::xgrammar STATIC IMPORTED)
set_target_properties(xgrammar::xgrammar PROPERTIES
  IMPORTED_LOCATION ${VARVE_XGRAMMAR}/lib/libxgrammar.a
  INTERFACE_INCLUDE_DIRECTORIES ${VARVE_XGRAMMAR}/include
  INTERFACE_LINK_LIBRARIES Threads::Threads)

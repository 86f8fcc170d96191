# The options that every target of varve is built with, and the two functions that declare them.

add_library(varve_options INTERFACE)
# No contraction: a*b+c stays two roundings unless the code says fma, so that a value does not
# depend on what the optimiser happened to fuse (law 1).
target_compile_options(varve_options INTERFACE
  -Wall -Wextra -Wconversion -Wshadow -ffp-contract=off -fno-math-errno
  $<$<BOOL:${VARVE_WERROR}>:-Werror>
  # GCC 12 warns falsely on "literal" + std::string (GCC bug 105651).
  $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict>)
target_include_directories(varve_options INTERFACE ${PROJECT_SOURCE_DIR}/src)
if(VARVE_SANITIZE)
  target_compile_options(varve_options INTERFACE
    -fsanitize=${VARVE_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer -gline-tables-only)
  target_link_options(varve_options INTERFACE -fsanitize=${VARVE_SANITIZE})
endif()
if(VARVE_FUZZ)
  target_compile_options(varve_options INTERFACE -fsanitize=fuzzer-no-link)
endif()

# varve_library(<folder> SOURCES <files> [DEPS <folders>] [LINK <external targets>])
# DEPS is the list of folders that this one may include from; tools/check_includes.py holds
# the sources to it.
function(varve_library name)
  cmake_parse_arguments(arg "" "" "SOURCES;DEPS;LINK" ${ARGN})
  add_library(varve_${name} STATIC ${arg_SOURCES})
  target_link_libraries(varve_${name} PRIVATE varve_options)
  foreach(dep ${arg_DEPS})
    target_link_libraries(varve_${name} PUBLIC varve_${dep})
  endforeach()
  target_link_libraries(varve_${name} PUBLIC ${arg_LINK})
endfunction()

# varve_test(<name> SOURCES <files> DEPS <folders> [SHARDS <n>]): one GoogleTest binary, and one CTest
# entry that runs it, or <n> that run a part each: <name>_1, <name>_2...
function(varve_test name)
  if(NOT VARVE_TESTS)
    return()
  endif()
  cmake_parse_arguments(arg "" "SHARDS" "SOURCES;DEPS;LINK" ${ARGN})
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE varve_options GTest::gtest GTest::gtest_main ${arg_LINK})
  foreach(dep ${arg_DEPS})
    target_link_libraries(${name} PRIVATE varve_${dep})
  endforeach()
  target_compile_definitions(${name} PRIVATE VARVE_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  if(NOT arg_SHARDS)
    add_test(NAME ${name} COMMAND ${name})
    return()
  endif()
  foreach(shard RANGE 1 ${arg_SHARDS})
    add_test(NAME ${name}_${shard} COMMAND ${name})
    math(EXPR index "${shard} - 1")
    set_tests_properties(${name}_${shard} PROPERTIES
      ENVIRONMENT "GTEST_TOTAL_SHARDS=${arg_SHARDS};GTEST_SHARD_INDEX=${index}")
  endforeach()
endfunction()

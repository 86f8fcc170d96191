find_package(benchmark REQUIRED)
add_executable(tokenizer_bench ${PROJECT_SOURCE_DIR}/bench/tokenizer_bench.cpp)
target_link_libraries(tokenizer_bench PRIVATE varve_options varve_tokenizer benchmark::benchmark)
target_compile_definitions(tokenizer_bench PRIVATE VARVE_SOURCE_DIR="${PROJECT_SOURCE_DIR}")

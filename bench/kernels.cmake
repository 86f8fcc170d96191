# kernels_bench: what the ops reach of the machine's measured roofs.
find_package(benchmark REQUIRED)
add_executable(kernels_bench ${CMAKE_CURRENT_LIST_DIR}/kernels_bench.cpp)
target_link_libraries(kernels_bench PRIVATE varve_options varve_kernels benchmark::benchmark)

# The worker's decisions: pure, links nothing.
dtq_core(worker_core
  worker_core.c
  worker_entries.c
  worker_session.c
  worker_holdings.c
  worker_lane.c
  worker_credit.c
  worker_results.c
  worker_slots.c)

foreach(test worker_session worker_credit worker_results worker_slots worker_random)
  dtq_unit_test(${test} worker_core dtq_wire)
endforeach()
if(DTQ_TESTS) # allocations of the core fail at random
  target_link_options(worker_random_test PRIVATE LINKER:--wrap=malloc,--wrap=calloc,--wrap=realloc)
endif()

# Measures the core alone; by hand, see bench/modules/worker_bench.c.
add_executable(worker_bench EXCLUDE_FROM_ALL ${CMAKE_SOURCE_DIR}/bench/modules/worker_bench.c)
target_link_libraries(worker_bench PRIVATE dtq_flags worker_core)

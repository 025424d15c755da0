add_library(dtq_journal STATIC
  journal.c
  journal_common.c
  journal_past.c
  journal_read.c
  journal_record.c
  journal_repair.c)
target_link_libraries(dtq_journal PUBLIC dtq_store PRIVATE dtq_flags)
target_include_directories(dtq_journal PUBLIC ${CMAKE_CURRENT_SOURCE_DIR})

dtq_unit_test(journal dtq_journal)

# Measures the journal on a disk; by hand, see bench/modules/store_bench.c.
add_executable(store_bench EXCLUDE_FROM_ALL ${CMAKE_SOURCE_DIR}/bench/modules/store_bench.c)
target_link_libraries(store_bench PRIVATE dtq_flags dtq_journal)

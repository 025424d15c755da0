dtq_core(vent_core
  vent_age.c
  vent_cancel.c
  vent_check.c
  vent_core.c
  vent_cron.c
  vent_cron_operate.c
  vent_dead.c
  vent_dying.c
  vent_dispatch.c
  vent_explain.c
  vent_gate.c
  vent_group.c
  vent_holdings.c
  vent_journal.c
  vent_key.c
  vent_move.c
  vent_note.c
  vent_operate.c
  vent_peer.c
  vent_propose.c
  vent_query.c
  vent_queue.c
  vent_report.c
  vent_removed.c
  vent_sink.c
  vent_submit.c
  vent_task.c
  vent_time.c
  vent_worker.c)
# journal.h names types of store.h; nothing of it is called.
target_include_directories(vent_core PUBLIC ${CMAKE_SOURCE_DIR}/store)

foreach(part age clock core dead group key move queue random removed session submit task window)
  dtq_unit_test(vent_${part} vent_core dtq_journal dtq_wire)
endforeach()

if(DTQ_TESTS)
  target_sources(vent_removed_test PRIVATE ${CMAKE_SOURCE_DIR}/tests/lib/alloc_fail.c)
  target_link_options(vent_removed_test PRIVATE LINKER:--wrap=malloc LINKER:--wrap=calloc LINKER:--wrap=realloc)
endif()

dtq_unit_test(vent_cron vent_core dtq_journal dtq_wire dtq_cron)
dtq_unit_test(vent_cron_random vent_core dtq_journal dtq_wire dtq_cron)

# What the core costs per task; by hand, see bench/modules/vent_bench.c.
add_executable(vent_bench EXCLUDE_FROM_ALL ${CMAKE_SOURCE_DIR}/bench/modules/vent_bench.c)
target_link_libraries(vent_bench PRIVATE dtq_flags vent_core)

# The worker's hands: slots and their shared memory, handlers, sockets, the program.
add_library(dtq_slots STATIC
  command.c handlers.c handlers_exec.c handlers_module.c ring.c slot.c slot_keeper.c slot_orphans.c slot_pool.c)
target_include_directories(dtq_slots PUBLIC ${CMAKE_CURRENT_SOURCE_DIR})
target_link_libraries(dtq_slots PUBLIC dtq_common ${CMAKE_DL_LIBS} PRIVATE dtq_flags)

add_executable(dtq-worker main.c worker_io.c)
target_link_libraries(dtq-worker PRIVATE dtq_flags dtq_slots worker_core dtq_common)
install(TARGETS dtq-worker)

dtq_unit_test(ring dtq_slots)
dtq_unit_test(command dtq_slots)
dtq_unit_test(handlers dtq_slots)
dtq_unit_test(slot_pool dtq_slots)

if(DTQ_TESTS)
  # Modules that misbehave, and modules that are no good at all.
  add_library(rogue_module MODULE ${CMAKE_SOURCE_DIR}/tests/lib/rogue_module.c)
  set(modules example_handlers rogue_module)
  foreach(bad RANGE 1 10)
    add_library(bad_module_${bad} MODULE ${CMAKE_SOURCE_DIR}/tests/lib/bad_module.c)
    target_compile_definitions(bad_module_${bad} PRIVATE BAD=${bad})
    list(APPEND modules bad_module_${bad})
  endforeach()
  foreach(module IN LISTS modules)
    if(NOT module STREQUAL "example_handlers")
      set_target_properties(${module} PROPERTIES PREFIX "")
      target_link_libraries(${module} PRIVATE dtq_flags)
      target_include_directories(${module} PRIVATE ${CMAKE_SOURCE_DIR}/libdtq/include)
    endif()
  endforeach()
  set(slowness 1) # of bounds in time
  if(DTQ_SANITIZE)
    set(slowness 10)
    set_tests_properties(unit.ring PROPERTIES TIMEOUT 900) # its stress, with ThreadSanitizer
  elseif(DTQ_VALGRIND)
    set(slowness ${DTQ_SLOWNESS})
  endif()
  foreach(test handlers slot_pool)
    target_compile_definitions(${test}_test PRIVATE
      DTQ_WORKER="$<TARGET_FILE:dtq-worker>"
      HANDLERS_MODULE="$<TARGET_FILE:example_handlers>"
      ROGUE_MODULE="$<TARGET_FILE:rogue_module>"
      BAD_MODULE="$<TARGET_FILE_DIR:bad_module_1>/bad_module_"
      DTQ_SLOWNESS=${slowness})
    add_dependencies(${test}_test dtq-worker ${modules})
  endforeach()

  add_executable(worker_test ${CMAKE_SOURCE_DIR}/tests/integration/worker_test.c)
  target_link_libraries(worker_test PRIVATE dtq_flags dtq_common PkgConfig::dtq_cmocka)
  target_include_directories(worker_test PRIVATE ${CMAKE_SOURCE_DIR}/tests/lib)
  target_compile_definitions(worker_test PRIVATE DTQ_SLOWNESS=${DTQ_SLOWNESS})
  add_dependencies(worker_test dtq-worker example_handlers bad_module_1)
  add_test(NAME integration.worker COMMAND worker_test $<TARGET_FILE:dtq-worker>
    $<TARGET_FILE:example_handlers> $<TARGET_FILE:bad_module_1>)
  set_tests_properties(integration.worker PROPERTIES TIMEOUT 120 LABELS integration)
endif()

# Measures slots without the network; by hand, see bench/modules/slots_bench.c.
add_executable(slots_bench EXCLUDE_FROM_ALL ${CMAKE_SOURCE_DIR}/bench/modules/slots_bench.c)
target_link_libraries(slots_bench PRIVATE dtq_flags dtq_slots)

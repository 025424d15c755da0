add_library(vent_lanes STATIC vent_lanes.c)
target_link_libraries(vent_lanes PUBLIC dtq_common PRIVATE dtq_flags)
target_include_directories(vent_lanes PUBLIC ${CMAKE_CURRENT_SOURCE_DIR})

add_executable(dtq-ventilator main.c vent_io.c)
target_link_libraries(dtq-ventilator PRIVATE dtq_flags vent_core vent_lanes dtq_journal dtq_common dtq_cron)
install(TARGETS dtq-ventilator RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})

dtq_unit_test(vent_lanes vent_lanes)

if(DTQ_TESTS)
  add_executable(ventilator_test ${CMAKE_SOURCE_DIR}/tests/integration/ventilator_test.c)
  target_link_libraries(ventilator_test PRIVATE dtq_flags dtq_common PkgConfig::dtq_cmocka)
  target_include_directories(ventilator_test PRIVATE ${CMAKE_SOURCE_DIR}/tests/lib)
  add_dependencies(ventilator_test dtq-ventilator)
  add_test(NAME integration.ventilator COMMAND ventilator_test $<TARGET_FILE:dtq-ventilator>)
  set_tests_properties(integration.ventilator PROPERTIES TIMEOUT 120 LABELS integration)
endif()

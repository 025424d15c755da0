# Bounds in time are multiplied by this.
set(DTQ_SLOWNESS 1)
if(DTQ_SANITIZE OR DTQ_COVERAGE)
  set(DTQ_SLOWNESS 4)
elseif(DTQ_VALGRIND)
  set(DTQ_SLOWNESS 6)
endif()

# dtq_core(name SOURCES..): a pure core. It gets include paths and flags, and links nothing; arch.core_is_pure checks
# its undefined symbols against a short list.
function(dtq_core name)
  add_library(${name} STATIC ${ARGN})
  target_compile_options(${name} PRIVATE $<TARGET_PROPERTY:dtq_flags,INTERFACE_COMPILE_OPTIONS>)
  target_compile_definitions(${name} PRIVATE _GNU_SOURCE)
  target_include_directories(${name} PUBLIC
    ${CMAKE_CURRENT_SOURCE_DIR} ${CMAKE_SOURCE_DIR}/libdtq/include ${CMAKE_SOURCE_DIR}/libdtq/src)
  set_property(GLOBAL APPEND PROPERTY DTQ_CORES ${name})
endfunction()

# dtq_unit_test(module LIBS..): tests/unit/<module>_test.c, as ctest "unit.<module>".
function(dtq_unit_test module)
  if(NOT DTQ_TESTS)
    return()
  endif()
  add_executable(${module}_test ${CMAKE_SOURCE_DIR}/tests/unit/${module}_test.c)
  target_link_libraries(${module}_test PRIVATE dtq_flags ${ARGN} PkgConfig::dtq_cmocka)
  target_include_directories(${module}_test PRIVATE ${CMAKE_SOURCE_DIR}/tests/lib)
  add_test(NAME unit.${module} COMMAND ${module}_test)
  math(EXPR timeout "120 * ${DTQ_SLOWNESS}")
  set_tests_properties(unit.${module} PROPERTIES TIMEOUT ${timeout} LABELS unit)
endfunction()

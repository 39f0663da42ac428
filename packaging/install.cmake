# How users find libeesdk: the library, its headers, a pkg-config file and a CMake package, each for the build tree as it stands and for an
# installed prefix. Programs install themselves (server/CMakeLists.txt). Included by sdk/CMakeLists.txt once the target eesdk exists.
include(CMakePackageConfigHelpers)

install(TARGETS eesdk EXPORT eesdk-targets LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY ${PROJECT_SOURCE_DIR}/sdk/include/eesdk DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h" PATTERN "*.def")

# CMake: find_package(eesdk) gives eesdk::eesdk. Build tree: -Deesdk_DIR=build/lib/cmake/eesdk, or CMAKE_PREFIX_PATH=build.
set(eesdk_cmake_dir ${CMAKE_INSTALL_LIBDIR}/cmake/eesdk)
set(eesdk_build_cmake_dir ${CMAKE_BINARY_DIR}/lib/cmake/eesdk)
configure_file(${CMAKE_CURRENT_LIST_DIR}/eesdk-config.cmake.in ${eesdk_build_cmake_dir}/eesdk-config.cmake COPYONLY)
# Before 1.0 a minor version may break what the last one promised.
write_basic_package_version_file(${eesdk_build_cmake_dir}/eesdk-config-version.cmake VERSION ${PROJECT_VERSION} COMPATIBILITY SameMinorVersion)
export(EXPORT eesdk-targets NAMESPACE eesdk:: FILE ${eesdk_build_cmake_dir}/eesdk-targets.cmake)
install(EXPORT eesdk-targets NAMESPACE eesdk:: DESTINATION ${eesdk_cmake_dir})
install(FILES ${eesdk_build_cmake_dir}/eesdk-config.cmake ${eesdk_build_cmake_dir}/eesdk-config-version.cmake DESTINATION ${eesdk_cmake_dir})

# pkg-config. The file carries an rpath, so that what is linked with it (C, Go, the Python extension) runs without LD_LIBRARY_PATH. Not when
# configured for /usr, as packagers do: there the loader looks anyway.
function(eesdk_pc out prefix includedir libdir rpath)
  set(EESDK_PREFIX ${prefix})
  set(EESDK_INCLUDEDIR ${includedir})
  set(EESDK_LIBDIR ${libdir})
  set(EESDK_RPATH ${rpath})
  configure_file(${PROJECT_SOURCE_DIR}/packaging/eesdk.pc.in ${out} @ONLY)
endfunction()
set(rpath "-Wl,-rpath,\${libdir} ")
eesdk_pc(${CMAKE_BINARY_DIR}/lib/pkgconfig/eesdk.pc "${CMAKE_BINARY_DIR}" "${PROJECT_SOURCE_DIR}/sdk/include" "\${prefix}/lib" "${rpath}")
# ${pcfiledir} makes the installed file right wherever the prefix is moved to (DESTDIR, --prefix).
if(CMAKE_INSTALL_PREFIX STREQUAL "/usr")
  set(rpath "")
endif()
file(RELATIVE_PATH up "/p/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/p")
string(REGEX REPLACE "/$" "" up "${up}")
eesdk_pc(${CMAKE_BINARY_DIR}/install/eesdk.pc "\${pcfiledir}/${up}" "\${prefix}/${CMAKE_INSTALL_INCLUDEDIR}" "\${prefix}/${CMAKE_INSTALL_LIBDIR}" "${rpath}")
install(FILES ${CMAKE_BINARY_DIR}/install/eesdk.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

#include "core/hdf5_writer.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#if __has_include(<H5FDdevelop.h>)
#include <H5FDdevelop.h>
#endif

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "core/error.h"

namespace baekji {

/// What the driver tells the writer: the first failure (an errno), after which nothing reaches the disk.
struct Hdf5Writer::Status {
  int error = 0;
};

namespace {

// The driver's view of an open file. HDF5 reads metadata back that it wrote; after a failure it finds it in `kept`.
struct DriverFile {
  H5FD_t base{};  // first: HDF5 takes a DriverFile* for an H5FD_t*
  int descriptor = -1;
  int* error = nullptr;
  haddr_t end_allocated = 0;
  haddr_t end_written = 0;
  struct Write {
    haddr_t address = 0;
    std::vector<std::byte> bytes;
  };
  std::vector<Write> kept;
};

DriverFile& driver_file(H5FD_t* file) {
  return *reinterpret_cast<DriverFile*>(file);
}
const DriverFile& driver_file(const H5FD_t* file) {
  return *reinterpret_cast<const DriverFile*>(file);
}

constexpr haddr_t kMaxAddress = (haddr_t{1} << 62) - 1;

H5FD_t* open_file(const char* name, unsigned flags, hid_t access, haddr_t max_address) {
  const void* const info = H5Pget_driver_info(access);
  if (info == nullptr || max_address == 0) return nullptr;
  int* error = nullptr;
  std::memcpy(&error, info, sizeof error);
  const int truncate = (flags & H5F_ACC_TRUNC) != 0 ? O_TRUNC : 0;
  const int create = (flags & H5F_ACC_CREAT) != 0 ? O_CREAT : 0;
  const int descriptor = ::open(name, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | create | truncate, 0644);
  if (descriptor < 0) {
    *error = errno;
    return nullptr;
  }
  struct stat status {};
  if (::fstat(descriptor, &status) != 0 || !S_ISREG(status.st_mode)) {
    *error = ESPIPE;  // a FIFO opens for both ends
    ::close(descriptor);
    return nullptr;
  }
  auto* const file = new DriverFile;
  file->descriptor = descriptor;
  file->error = error;
  return &file->base;
}

herr_t close_file(H5FD_t* base) {
  DriverFile* const file = &driver_file(base);
  if (::close(file->descriptor) != 0 && *file->error == 0) *file->error = errno;
  delete file;
  return 0;
}

herr_t query(const H5FD_t* /*file*/, unsigned long* flags) {
  *flags = H5FD_FEAT_AGGREGATE_METADATA | H5FD_FEAT_ACCUMULATE_METADATA | H5FD_FEAT_DATA_SIEVE |
           H5FD_FEAT_AGGREGATE_SMALLDATA;
  return 0;
}

haddr_t end_allocated(const H5FD_t* file, H5FD_mem_t /*type*/) {
  return driver_file(file).end_allocated;
}
herr_t set_end_allocated(H5FD_t* file, H5FD_mem_t /*type*/, haddr_t address) {
  driver_file(file).end_allocated = address;
  return 0;
}
haddr_t end_written(const H5FD_t* file, H5FD_mem_t /*type*/) {
  return driver_file(file).end_written;
}

// Bytes that were never written read as zeros, as in any file.
herr_t read(H5FD_t* base, H5FD_mem_t /*type*/, hid_t /*transfer*/, haddr_t address, size_t size, void* buffer) {
  DriverFile& file = driver_file(base);
  auto* const out = static_cast<std::byte*>(buffer);
  std::memset(out, 0, size);
  for (size_t done = 0; done < size;) {
    const ssize_t n = ::pread(file.descriptor, out + done, size - done, static_cast<off_t>(address + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && *file.error == 0) *file.error = errno;
    if (n <= 0) break;
    done += static_cast<size_t>(n);
  }
  for (const DriverFile::Write& write : file.kept) {
    const haddr_t begin = std::max(address, write.address);
    const haddr_t end = std::min(address + size, write.address + write.bytes.size());
    if (begin < end) std::memcpy(out + (begin - address), write.bytes.data() + (begin - write.address), end - begin);
  }
  return 0;
}

herr_t write(H5FD_t* base, H5FD_mem_t type, hid_t /*transfer*/, haddr_t address, size_t size, const void* buffer) {
  DriverFile& file = driver_file(base);
  const auto* const in = static_cast<const std::byte*>(buffer);
  file.end_written = std::max(file.end_written, address + size);
  for (size_t done = 0; *file.error == 0 && done < size;) {
    const ssize_t n = ::pwrite(file.descriptor, in + done, size - done, static_cast<off_t>(address + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0)
      *file.error = errno;
    else
      done += static_cast<size_t>(n);
  }
  // Metadata is small and HDF5 may want it again; values it never reads back.
  if (*file.error != 0 && type != H5FD_MEM_DRAW) file.kept.push_back({address, {in, in + size}});
  return 0;
}

herr_t truncate(H5FD_t* base, hid_t /*transfer*/, hbool_t /*closing*/) {
  DriverFile& file = driver_file(base);
  if (*file.error == 0 && file.end_allocated != file.end_written &&
      ::ftruncate(file.descriptor, static_cast<off_t>(file.end_allocated)) != 0) {
    *file.error = errno;
  }
  file.end_written = file.end_allocated;
  return 0;
}

H5FD_class_t driver_class() {
  H5FD_class_t driver{};
#if H5_VERSION_GE(1, 14, 0)
  driver.version = H5FD_CLASS_VERSION;
  driver.value = static_cast<H5FD_class_value_t>(512);  // the range for drivers of applications begins at 256
#endif
  driver.name = "baekji_writer";
  driver.maxaddr = kMaxAddress;
  driver.fc_degree = H5F_CLOSE_WEAK;
  driver.fapl_size = sizeof(int*);
  driver.open = open_file;
  driver.close = close_file;
  driver.query = query;
  driver.get_eoa = end_allocated;
  driver.set_eoa = set_end_allocated;
  driver.get_eof = end_written;
  driver.read = read;
  driver.write = write;
  driver.truncate = truncate;
  constexpr H5FD_mem_t kMap[] = H5FD_FLMAP_DICHOTOMY;
  std::copy(std::begin(kMap), std::end(kMap), std::begin(driver.fl_map));
  return driver;
}

}  // namespace

Hdf5Writer::Hdf5Writer(const std::filesystem::path& path) : path_(path.string()), status_(std::make_unique<Status>()) {
  const H5FD_class_t driver = driver_class();
  driver_ = Hdf5Handle(H5FDregister(&driver), "HDF5 refused a file driver", path_);
  const Hdf5Handle access(H5Pcreate(H5P_FILE_ACCESS), "HDF5 refused a property list", path_);
  int* const error = &status_->error;
  hdf5_check(H5Pset_driver(access.get(), driver_.get(), &error), "HDF5 refused a file driver", path_);
  hdf5_check(H5Pset_libver_bounds(access.get(), H5F_LIBVER_V110, H5F_LIBVER_LATEST), "HDF5 refused a format version",
             path_);
  const hid_t file = H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, access.get());
  if (file < 0) check();
  file_ = Hdf5Handle(file, "cannot create an HDF5 file", path_);
}

Hdf5Writer::~Hdf5Writer() = default;

void Hdf5Writer::check() const {
  if (status_->error == 0) return;
  if (status_->error == ELOOP)
    throw Error("a file to be written is a symbolic link")
        .values("a file, or nothing", "a link, which may lead anywhere")
        .at(path_)
        .hint("remove the link");
  Error error("cannot write an HDF5 file");
  error.values("all its bytes", std::strerror(status_->error)).at(path_);
  if (status_->error == ENOSPC || status_->error == EDQUOT) {
    error.hint("free some space; for a run, keep fewer checkpoints (run.keep)");
  }
  throw error;
}

Hdf5Handle Hdf5Writer::create_dataset(const std::string& name, hid_t type, std::span<const std::uint64_t> dims) {
  const std::string place = hdf5_place(path_, name);
  const std::vector<hsize_t> extents(dims.begin(), dims.end());
  const Hdf5Handle space(H5Screate_simple(static_cast<int>(extents.size()), extents.data(), nullptr),
                         "HDF5 refused an extent", place);
  const Hdf5Handle links(H5Pcreate(H5P_LINK_CREATE), "HDF5 refused a property list", place);
  hdf5_check(H5Pset_create_intermediate_group(links.get(), 1), "HDF5 refused a property", place);
  return Hdf5Handle(H5Dcreate2(file_.get(), name.c_str(), type, space.get(), links.get(), H5P_DEFAULT, H5P_DEFAULT),
                    "cannot create an HDF5 dataset", place);
}

void Hdf5Writer::write_dataset(const std::string& name, std::span<const float> values) {
  const std::string place = hdf5_place(path_, name);
  const std::uint64_t extent[] = {values.size()};
  Hdf5Handle dataset = create_dataset(name, H5T_IEEE_F32LE, extent);
  hdf5_check(H5Dwrite(dataset.get(), H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()),
             "cannot write an HDF5 dataset", place);
  dataset.close("cannot write an HDF5 dataset", place);
  check();
}

Hdf5Handle Hdf5Writer::create_attribute(const std::string& object, const std::string& name,
                                        const Hdf5Handle& type) const {
  const std::string place = hdf5_place(path_, object + "@" + name);
  const Hdf5Handle space(H5Screate(H5S_SCALAR), "HDF5 refused a scalar", place);
  return Hdf5Handle(H5Acreate_by_name(file_.get(), object.c_str(), name.c_str(), type.get(), space.get(), H5P_DEFAULT,
                                      H5P_DEFAULT, H5P_DEFAULT),
                    "cannot create an HDF5 attribute", place);
}

void Hdf5Writer::write_attribute(const std::string& object, const std::string& name, const std::string& text) {
  const std::string place = hdf5_place(path_, object + "@" + name);
  const Hdf5Handle type(H5Tcopy(H5T_C_S1), "HDF5 refused a text type", place);
  hdf5_check(H5Tset_size(type.get(), std::max<std::size_t>(text.size(), 1)), "HDF5 refused a text size", place);
  hdf5_check(H5Tset_strpad(type.get(), H5T_STR_NULLPAD), "HDF5 refused a text padding", place);
  hdf5_check(H5Tset_cset(type.get(), H5T_CSET_UTF8), "HDF5 refused a character set", place);
  const Hdf5Handle attribute = create_attribute(object, name, type);
  hdf5_check(H5Awrite(attribute.get(), type.get(), text.c_str()), "cannot write an HDF5 attribute", place);
}

void Hdf5Writer::write_attribute(const std::string& object, const std::string& name, std::int64_t value) {
  const std::string place = hdf5_place(path_, object + "@" + name);
  const Hdf5Handle type(H5Tcopy(H5T_STD_I64LE), "HDF5 refused an integer type", place);
  const Hdf5Handle attribute = create_attribute(object, name, type);
  hdf5_check(H5Awrite(attribute.get(), H5T_NATIVE_INT64, &value), "cannot write an HDF5 attribute", place);
}

void Hdf5Writer::close() {
  file_.close("cannot close an HDF5 file", path_);
  check();
}

}  // namespace baekji

// What the build writes of itself into proof/kernel_set.cpp: the fuzz targets compute nothing that bears it.

namespace baekji {

extern const char kNumericsSourcesHex[];
const char kNumericsSourcesHex[] = "";
extern const char kNumericsFlags[];
const char kNumericsFlags[] = "";

}  // namespace baekji

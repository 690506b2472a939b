// A library to be preloaded that does what some do behind a program's back: the thread that loads it, and every thread
// that begins later, flush subnormal numbers to zero, take them for zero, and round towards zero. It says so at the
// end.

#include <dlfcn.h>
#include <pthread.h>
#include <xmmintrin.h>

#include <atomic>
#include <cfenv>
#include <cstdio>

namespace {

std::atomic<int> threads{0};

void spoil() {
  std::fesetround(FE_TOWARDZERO);
  _mm_setcsr(_mm_getcsr() | 0x8040U);
  threads.fetch_add(1);
}

struct Start {
  void* (*routine)(void*);
  void* argument;
};

void* begin(void* pointer) {
  const Start start = *static_cast<Start*>(pointer);
  delete static_cast<Start*>(pointer);
  spoil();
  return start.routine(start.argument);
}

struct Loaded {
  Loaded() { spoil(); }
  ~Loaded() { std::fprintf(stderr, "foreign float environment: %d threads\n", threads.load()); }
} loaded;

}  // namespace

extern "C" int pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*routine)(void*),
                              void* argument) {
  using Create = int (*)(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*);
  static const auto create = reinterpret_cast<Create>(dlsym(RTLD_NEXT, "pthread_create"));
  return create(thread, attributes, &begin, new Start{routine, argument});
}

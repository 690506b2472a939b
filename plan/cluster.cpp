#include "plan/cluster.h"

#pragma once
// The files of an exported folder, held against the digests that a statement has of them.

#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "proof/attestation.h"
#include "trainer/model_export.h"

namespace baekji {

/// Throws unless the folder holds these files with these digests: none more, none less, no links. Left out is what the
/// stock verifier of model signatures leaves out.
void require_release_files(const std::filesystem::path& folder, std::span<const AttestedSubject> files);

/// The digests of the files that the state of an export gives.
std::vector<AttestedSubject> digests_of(ModelExport& model);

}  // namespace baekji

#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Set up everything Heliograph needs on Debian 12, 13 or Ubuntu 24.04, and do no work twice:
#   1. system packages from setup.packages (root or sudo, only when some are missing);
#   2. Mesa 25's Vulkan drivers, and OpenGL of the same version for guests: the distribution's own where they are new
#      enough, otherwise from its backports into build/mesa, which leaves the machine's graphics and its apt
#      configuration as they are;
#   3. a virtual environment in .venv with the Python packages and Heliograph itself (editable: C is rebuilt at import).
# What apt and pip say goes to build/setup.log. Usage: ./setup.sh [system | mesa | python]... (all three without arguments)
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
build=$root/build
log=$build/setup.log
venv=$root/.venv
mesa=$build/mesa
mesa_wanted=25
# Vulkan for the render core (lavapipe) and for guests (Venus); OpenGL for guests (zink).
mesa_wants=(mesa-vulkan-drivers libgl1-mesa-dri libglx-mesa0 libegl-mesa0 libgbm1)
mesa_needs=(libvulkan_lvp.so libvulkan_virtio.so zink_dri.so 'libGLX_mesa.so.0*' 'libEGL_mesa.so.0*' 'libgbm.so.1*')
# make puts .venv/bin on PATH: what is looked for here is the system's.
PATH=:$PATH:
PATH=${PATH//:"$venv/bin":/:}
PATH=${PATH#:} PATH=${PATH%:}
cd "$root"
mkdir -p "$build"
: >"$log"

say() { printf '==> %s\n' "$*"; }
warn() { printf 'WARNING: %s\n' "$*" >&2; }

# fail WHAT-TO-DO: the end of the log, then what to do.
fail() {
	if [[ -s $log ]]; then
		printf '\n--- the last lines of %s ---\n' "$log" >&2
		tail -n 25 "$log" >&2
	fi
	printf '\nERROR: %s\n' "$*" >&2
	exit 1
}

quietly() {
	printf '\n+ %s\n' "$*" >>"$log"
	"$@" >>"$log" 2>&1
}

as_root() {
	if ((EUID == 0)); then
		quietly "$@"
	else
		quietly sudo "$@"
	fi
}

need_root() {
	((EUID == 0)) && return
	command -v sudo >/dev/null || fail "Installing packages needs root, and there is no sudo. As root, run: apt-get install $*"
	# Asks for the password now, where it can be seen.
	sudo -v || fail "sudo was refused. As root, run: apt-get install $*"
}

installed() { [[ $(dpkg-query -W -f '${db:Status-Abbrev}' "$1" 2>/dev/null) == *ii* ]]; }

apt_install() {
	as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"
}

# ---- 1. system packages ----------------------------------------------------------------------------------------------

# Print the lines of setup.packages that are not satisfied, without comments: "a|b" or "?a".
missing_packages() {
	local line name found
	while IFS= read -r line; do
		line=${line%%#*}
		line=${line//[[:space:]]/}
		[[ -n $line ]] || continue
		found=
		IFS='|' read -ra names <<<"${line#\?}"
		for name in "${names[@]}"; do
			if installed "$name"; then
				found=yes
			fi
		done
		[[ -n $found ]] || printf '%s\n' "$line"
	done <setup.packages
}

has_candidate() { [[ $(apt-cache policy "$1" 2>/dev/null) == *Candidate:\ [0-9]* ]]; }

system_packages() {
	local missing line name chosen install=()
	if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
		warn "No apt here: install what setup.packages lists by your own means, and Mesa $mesa_wanted or newer."
		return
	fi
	mapfile -t missing < <(missing_packages)
	if ((${#missing[@]} == 0)); then
		say "System packages: all there"
		return
	fi
	need_root "${missing[@]}"
	say "System packages: ${#missing[@]} missing; reading the package lists"
	as_root apt-get update || fail "apt-get update failed: check the network and the files in /etc/apt, then run make setup again."
	for line in "${missing[@]}"; do
		chosen=
		IFS='|' read -ra names <<<"${line#\?}"
		for name in "${names[@]}"; do
			if [[ -z $chosen ]] && has_candidate "$name"; then
				chosen=$name
			fi
		done
		if [[ -n $chosen ]]; then
			install+=("$chosen")
		elif [[ $line == \?* ]]; then
			warn "This distribution has no package ${line#\?}; what needs it is skipped."
		else
			fail "This distribution has no package $line. Heliograph is set up on Debian 12, 13 and Ubuntu 24.04."
		fi
	done
	((${#install[@]})) || return 0
	say "System packages: installing ${install[*]} (minutes)"
	apt_install "${install[@]}" || fail "Installing packages failed. Try: apt-get install ${install[*]}"
}

# ---- 2. Mesa ---------------------------------------------------------------------------------------------------------

mesa_major() { [[ ${1#*:} =~ ^([0-9]+) ]] && printf '%s' "${BASH_REMATCH[1]}" || printf 0; }

# Whether build/mesa was finished for this folder, has all parts and still finds all its libraries.
mesa_is_there() {
	local name path paths=()
	[[ -f $mesa/env ]] && grep -q "=$mesa/" "$mesa/env" || return 1
	for name in "${mesa_needs[@]}"; do
		path=$(find "$mesa" -name "$name" -print -quit)
		[[ -n $path ]] || return 1
		paths+=("$path")
	done
	! (
		LD_LIBRARY_PATH=$(sed -n 's/^LD_LIBRARY_PATH=//p' "$mesa/env")
		export LD_LIBRARY_PATH
		ldd "${paths[@]}"
	) 2>&1 | grep -q 'not found'
}

# Whether the distribution's own packages are installed and new enough.
mesa_is_systems() {
	local name
	for name in "${mesa_wants[@]}"; do
		installed "$name" && (($(mesa_major "$(dpkg-query -W -f '${Version}' "$name")") >= mesa_wanted)) || return 1
	done
}

# Write an apt configuration of our own below $1: the machine's sources of this release and, from the same mirror,
# its backports. Nothing of the machine's own apt state is used or changed, and no package counts as installed.
private_apt() {
	local dir=$1 codename=$2 uri release component signed_by base=
	mkdir -p "$dir"/{lists/partial,cache/archives/partial,empty}
	: >"$dir/status"
	: >"$dir/preferences"
	: >"$dir/sources.list"
	while IFS='|' read -r uri release component signed_by; do
		[[ $release == "$codename" || $release == "$codename"-updates || $release == "$codename"-security ]] || continue
		[[ $component == main || $component == universe ]] || continue
		[[ $signed_by == /* ]] && signed_by=" signed-by=${signed_by// /,}" || signed_by=
		printf 'deb [arch=%s%s] %s %s %s\n' "$arch" "$signed_by" "$uri" "$release" "$component" >>"$dir/sources.list"
		if [[ $release == "$codename" && $component == main && -z $base ]]; then
			base=yes
			printf 'deb [arch=%s%s] %s %s-backports main\n' "$arch" "$signed_by" "$uri" "$codename" >>"$dir/sources.list"
		fi
	done < <(apt-get indextargets --format '$(REPO_URI)|$(RELEASE)|$(COMPONENT)|$(SIGNED_BY)' \
		'Created-By: Packages' "Architecture: $arch" | sort -u)
	[[ -n $base ]] || return 1
	{
		[[ ! -d /etc/apt/apt.conf.d ]] || echo '#include "/etc/apt/apt.conf.d/";'
		[[ ! -f /etc/apt/apt.conf ]] || echo '#include "/etc/apt/apt.conf";'
		cat <<-END
			Dir::Etc::Parts "$dir/empty";
			Dir::Etc::Main "$dir/none";
			Dir::Etc::SourceList "$dir/sources.list";
			Dir::Etc::SourceParts "$dir/empty";
			Dir::Etc::Preferences "$dir/preferences";
			Dir::Etc::PreferencesParts "$dir/empty";
			Dir::State::Lists "$dir/lists";
			Dir::State::status "$dir/status";
			Dir::Cache "$dir/cache";
			#clear APT::Update;
			#clear Acquire::Languages;
			Acquire::Languages "none";
		END
	} >"$dir/apt.conf"
}

# Print "package version" for what Mesa from backports needs and this machine lacks or has too old.
mesa_packages() {
	local dir=$1 codename=$2 plan= pin action name version rest
	# Mesa and libdrm alone from backports, if that resolves; it will unless Mesa has come to need newer libraries still.
	for pin in 'src:mesa src:libdrm' '*'; do
		printf 'Package: %s\nPin: release n=%s-backports\nPin-Priority: 990\n' "$pin" "$codename" >"$dir/preferences"
		plan=$(APT_CONFIG=$dir/apt.conf apt-get -s --no-install-recommends install "${mesa_wants[@]}" 2>>"$log") && break
	done
	printf '%s\n' "$plan" >>"$log"
	# Inst libdrm2 (2.4.123-1~bpo12+1 Debian Backports:12/oldstable-backports [amd64])
	while read -r action name version rest; do
		[[ $action == Inst ]] || continue
		version=${version#(}
		if installed "$name"; then
			[[ $rest == *-backports* ]] || continue
			dpkg --compare-versions "$(dpkg-query -W -f '${Version}' "$name")" lt "$version" || continue
		fi
		printf '%s=%s\n' "$name" "$version"
	done <<<"$plan"
}

private_mesa() {
	local dir=$build/mesa-apt new=$build/mesa.new codename=$1 packages deb json icd library_path
	say "Mesa: reading the package lists of $codename-backports (kept apart from the machine's own)"
	rm -rf "$dir" "$new"
	private_apt "$dir" "$codename" ||
		fail "Found no apt source for $codename. Add one to /etc/apt/sources.list.d, then run make setup again."
	APT_CONFIG=$dir/apt.conf quietly apt-get update ||
		fail "Reading the package lists failed: check the network. The sources tried are in $dir/sources.list."
	if (($(mesa_major "$(APT_CONFIG=$dir/apt.conf apt-cache policy mesa-vulkan-drivers | sed -n 's/.*Candidate: //p')") >= mesa_wanted)); then
		say "Mesa: the distribution's own is new enough; installing it"
		need_root "${mesa_wants[@]}"
		as_root apt-get update && apt_install "${mesa_wants[@]}" || fail "Try: apt-get install ${mesa_wants[*]}"
		rm -rf "$dir" "$mesa"
		return
	fi
	mapfile -t packages < <(mesa_packages "$dir" "$codename")
	[[ " ${packages[*]} " == *" mesa-vulkan-drivers="* ]] ||
		fail "$codename-backports has no usable mesa-vulkan-drivers. Install Mesa $mesa_wanted or newer, then run make setup again."
	say "Mesa: downloading ${packages[*]%%=*} into build/mesa"
	(
		cd "$dir/cache"
		APT_CONFIG=$dir/apt.conf quietly apt-get download "${packages[@]}"
	) || fail "Downloading Mesa failed: check the network, then run make setup again."
	mkdir -p "$new"
	for deb in "$dir"/cache/*.deb; do
		quietly dpkg -x "$deb" "$new" || fail "Unpacking $deb failed."
	done
	# The drivers are named by path: nothing else on the machine finds them.
	for json in "$new"/usr/share/vulkan/icd.d/*.json "$new"/usr/share/glvnd/egl_vendor.d/*.json; do
		sed -i -E "s#(\"library_path\" *: *\")[^\"]*/?(lib[^/\"]+\")#\1$mesa/usr/lib/$(triplet)/\2#" "$json"
	done
	library_path=$mesa/usr/lib/$(triplet)
	[[ ! -d $new/lib/$(triplet) ]] || library_path+=:$mesa/lib/$(triplet)
	icd=$(cd "$new" && echo usr/share/vulkan/icd.d/lvp_icd.*)
	[[ -f $new/$icd ]] || fail "Mesa's package has no software Vulkan driver (lvp_icd)."
	printf 'VK_ADD_DRIVER_FILES=%s\nLD_LIBRARY_PATH=%s\n' "$mesa/$icd" "$library_path" >"$new/env"
	rm -rf "$mesa" && mv "$new" "$mesa" && rm -rf "$dir"
	mesa_is_there || fail "Mesa in $mesa lacks one of ${mesa_needs[*]}, or libraries of theirs: try ldd on them."
	say "Mesa: $(printf '%s\n' "${packages[@]}" | sed -n 's/^mesa-vulkan-drivers=//p') is in build/mesa"
}

triplet() { (shopt -s nullglob; cd "$build/mesa.new/usr/lib" && echo *-linux-gnu*); }

mesa_drivers() {
	command -v apt-get >/dev/null || return 0
	local codename
	if mesa_is_systems; then
		say "Mesa: the system's $(dpkg-query -W -f '${Version}' mesa-vulkan-drivers)"
	elif mesa_is_there; then
		say "Mesa: build/mesa is there"
	else
		codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
		[[ -n $codename ]] || fail "/etc/os-release names no release. Install Mesa $mesa_wanted's mesa-vulkan-drivers, then run make setup again."
		arch=$(dpkg --print-architecture)
		private_mesa "$codename"
	fi
}

# ---- 3. Python -------------------------------------------------------------------------------------------------------

# Print the first Python that is new enough and can make virtual environments.
find_python() {
	local python
	for python in python3 /usr/bin/python3 python3.13 python3.12 python3.11; do
		if command -v "$python" >/dev/null &&
			"$python" -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
			"$python" -c 'import sys; print(sys.executable)'
			return
		fi
	done
	return 1
}

python_packages() {
	local python key stamp=$build/setup-python.stamp requires
	# A venv and build folders know where they are: a tree that was moved gets new ones.
	if ! grep -qs "$venv\b" "$venv/bin/activate" ||
		! "$venv/bin/python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
		rm -rf "$build"/cp3* "$build"/{dev,asan,tsan,fuzz}
		python=$(find_python) || fail "No Python 3.11 or newer with venv. Install python3 and python3-venv."
		say "Python: making .venv with $python"
		quietly "$python" -m venv --clear "$venv" || fail "Making the virtual environment failed. Is python3-venv installed?"
	fi
	key=$(
		echo "$root"
		"$venv/bin/python" -VV
		cat pyproject.toml
	)
	key=$(printf '%s' "$key" | sha256sum)
	if [[ -f $stamp && $(<"$stamp") == "$key" && -x $venv/bin/heliograph ]]; then
		say "Python packages: all there"
		return
	fi
	rm -f "$stamp"
	say "Python packages: installing into .venv (minutes the first time)"
	# By themselves and not with Heliograph: it is built without isolation, so that what it was built with stays for the
	# rebuild at import, but a dependency that comes as source (xcffib) needs pip's isolation.
	mapfile -t requires < <("$venv/bin/python" - <<-'END'
		import tomllib

		with open("pyproject.toml", "rb") as file:
		    settings = tomllib.load(file)
		project = settings["project"]
		extras = project["optional-dependencies"]
		print(*settings["build-system"]["requires"], "meson", sep="\n")
		print(*project["dependencies"], *extras["test"], *extras["lint"], sep="\n")
	END
	)
	# The system's ninja, where there is one: at import .venv/bin need not be on PATH, and meson looks for ninja there.
	if command -v ninja >/dev/null; then
		[[ ! -x $venv/bin/ninja ]] || quietly "$venv/bin/python" -m pip uninstall -y ninja
	else
		requires+=(ninja)
	fi
	quietly "$venv/bin/python" -m pip install --disable-pip-version-check "${requires[@]}" ||
		fail "pip could not install the Python packages: check the network and pip's configuration."
	say "Heliograph: building it and installing it into .venv"
	# Who imports Heliograph rebuilds what has changed: one at a time, as meson refuses company, and not a session's parts.
	printf '#!/bin/sh\n[ -z "$HELIOGRAPH_IS_BUILT" ] || exit 0\nunset NINJA\nexec flock "%s" "%s" "$@"\n' "$venv/bin/ninja-in-turn" \
		"$(PATH=$PATH:$venv/bin command -v ninja)" >"$venv/bin/ninja-in-turn"
	chmod +x "$venv/bin/ninja-in-turn"
	PATH=$venv/bin:$PATH NINJA=$venv/bin/ninja-in-turn quietly "$venv/bin/python" -m pip install --disable-pip-version-check \
		--no-build-isolation --no-deps -e . ||
		fail "Building Heliograph failed; the log above says where."
	printf '%s' "$key" >"$stamp"
}

steps=("$@")
((${#steps[@]})) || steps=(system mesa python)
for step in "${steps[@]}"; do
	case $step in
	system) system_packages ;;
	mesa) mesa_drivers ;;
	python) python_packages ;;
	*) fail "There is no step $step: ./setup.sh [system | mesa | python]..." ;;
	esac
done
say "Ready. Next: make run (a desktop in the browser), make test, make help"
